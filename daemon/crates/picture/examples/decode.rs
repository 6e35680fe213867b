//! Times the decoding of one picture, for `./dev bench decode`: `decode FILE REDUCTION [REPEAT [PIXELS]]`
//! prints the median of REPEAT runs in microseconds, and writes the rows to the file PIXELS.

use std::hint::black_box;
use std::time::Instant;

use picket_picture::Jpeg;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, reduction, rest @ ..] = arguments.as_slice() else {
        return Err("usage: decode FILE REDUCTION [REPEAT [PIXELS]]".into());
    };
    let body = std::fs::read(file)?;
    let reduction = reduction.parse()?;
    let repeat: usize = rest.first().map_or(Ok(1), |repeat| repeat.parse())?;
    let mut times = Vec::with_capacity(repeat);
    for _ in 0..repeat.max(1) {
        let start = Instant::now();
        Jpeg::open(&body)?.read(reduction, &mut |row| {
            black_box(row);
        })?;
        times.push(start.elapsed());
    }
    times.sort();
    println!("{:.1}", times[times.len() / 2].as_secs_f64() * 1e6);
    if let Some(path) = rest.get(1) {
        let mut pixels = Vec::new();
        Jpeg::open(&body)?.read(reduction, &mut |row| pixels.extend_from_slice(row))?;
        std::fs::write(path, pixels)?;
    }
    Ok(())
}
