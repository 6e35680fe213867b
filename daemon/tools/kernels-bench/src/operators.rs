//! Operators other than convolutions: how many bytes a second each writes.

use std::time::{Duration, Instant};

use picket_kernels::{
    Addition, AveragePool, Counted, Kernel, MaxPool, Outside, Product, Quantise, Quantised, SLACK,
    Scaled, Source, Table, View, Windows, copy, enter_flipped,
};

const PASSES: usize = 200;
/// Side and channels of the tensors.
const SIDE: usize = 28;
const CHANNELS: usize = 192;

/// Prints the least time of each operator on one tensor, and its rate.
pub fn print(kernel: Kernel) {
    let view = View::dense(0, [SIDE; 2], CHANNELS);
    let a: Vec<u8> = (0..view.extent() + SLACK).map(|at| (at * 31 % 251) as u8).collect();
    let mut to = a.clone();
    let scaled = Scaled { quantised: Quantised { signed: false, zero: 3 }, scale: 0.1 };
    let source = Source { bytes: &a, view };
    let factor = Source { bytes: &a, view: View::dense(0, [1; 2], CHANNELS) };
    let sum = Addition::pack([scaled; 2], scaled, kernel).expect("it is sound");
    line("sum", kernel, view, || sum.run([source; 2], &mut to, view));
    let product = Product::pack([scaled; 2], scaled, kernel).expect("it is sound");
    line("product", kernel, view, || product.run([source; 2], &mut to, view));
    line("product by channel", kernel, view, || product.run([source, factor], &mut to, view));
    let answers = std::array::from_fn(|byte| (byte * 7) as u8);
    let table = Table::pack(&answers, [scaled.quantised; 2], kernel);
    line("table", kernel, view, || table.run(&a, view, &mut to, view));
    line("copy", kernel, view, || copy(&a, view, &mut to, view));
    let windows = Windows {
        kernel: [3; 2],
        stride: [2; 2],
        pad_before: [1; 2],
        pad_after: [1; 2],
        ..Windows::points([SIDE; 2])
    };
    let small = View::dense(0, windows.output(), CHANNELS);
    let pool = MaxPool::pack(&windows, CHANNELS, kernel).expect("it is sound");
    line("MaxPool 3×3/2", kernel, small, || pool.run(&a, view, &mut to, small));
    let counted = Counted::Picture;
    let pool = AveragePool::pack((&windows, CHANNELS), counted, [scaled; 2], kernel);
    let pool = pool.expect("it is sound");
    line("AveragePool 3×3/2", kernel, small, || pool.run(&a, view, &mut to, small));
    let whole = Windows { kernel: [SIDE; 2], ..Windows::points([SIDE; 2]) };
    let one = View::dense(0, [1; 2], CHANNELS);
    let pool = AveragePool::pack((&whole, CHANNELS), counted, [scaled; 2], kernel);
    let pool = pool.expect("it is sound");
    line("mean of all pixels", kernel, view, || pool.run(&a, view, &mut to, one));
    pictures(kernel, scaled);
}

/// A picture of 224 × 224 on its way in.
fn pictures(kernel: Kernel, scaled: Scaled) {
    let view = View { pixel: 4, row: 226 * 4, ..View::dense(227 * 4, [224; 2], 3) };
    let mut to = vec![0; 226 * 226 * 4 + SLACK];
    let bytes: Vec<u8> = (0..224 * 224 * 3).map(|at| (at * 31 % 251) as u8).collect();
    let floats: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte) / 9.0).collect();
    let quantise = Quantise::pack(scaled, kernel).expect("it is sound");
    for (name, order) in [("planar", Outside::Planar), ("pixels", Outside::ChannelLast)] {
        line(&format!("bytes in, {name}"), kernel, view, || {
            enter_flipped(&bytes, order, 0, (&mut to, view));
        });
        line(&format!("floats in, {name}"), kernel, view, || {
            quantise.run(&floats, order, &mut to, view);
        });
    }
}

fn line(name: &str, kernel: Kernel, view: View, mut run: impl FnMut()) {
    let times = (0..PASSES).map(|_| {
        let started = Instant::now();
        run();
        started.elapsed()
    });
    let time = times.min().unwrap_or(Duration::ZERO).as_secs_f64();
    let bytes = view.rows * view.columns * view.channels;
    println!(
        "{:<10}  {name:<24}{:>10.2} µs{:>8.1} GB/s",
        kernel.name(),
        time * 1e6,
        bytes as f64 / time.max(1e-9) / 1e9
    );
}
