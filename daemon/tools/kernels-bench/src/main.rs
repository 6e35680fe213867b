//! `picket-kernels-bench`: what this core can do, and what the kernels make of it, without a daemon.
//!
//! ```text
//! picket-kernels-bench peak              products per second of each kernel's instruction
//! picket-kernels-bench layers [KERNEL [IMAGES]]   each layer of a net of the embedded model's shape
//! ```
//!
//! `./dev bench model` runs the first; docs/kernels.md counts the instructions of the second.

mod peak;

use std::time::{Duration, Instant};

use picket_kernels::{Convolution, Geometry, Kernel, Layer, Order, Quantised, Windows};

const IMAGES: usize = 1000;

/// Channels in and out, side of the input, stride; all 3 × 3 with a border of 1.
const LAYERS: [(usize, usize, usize, usize); 9] = [
    (3, 16, 32, 1),
    (16, 32, 32, 2),
    (32, 48, 16, 1),
    (48, 96, 16, 2),
    (96, 96, 8, 1),
    (96, 96, 8, 1),
    (96, 128, 8, 2),
    (128, 128, 4, 1),
    (128, 128, 4, 1),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["peak"] => peak::print(),
        ["layers"] => layers(Kernel::best(), IMAGES),
        ["layers", kernel] => layers(named(kernel), IMAGES),
        ["layers", kernel, images] => {
            layers(named(kernel), images.parse().expect("a number of images"));
        }
        _ => {
            eprintln!("usage: picket-kernels-bench peak | layers [KERNEL [IMAGES]]");
            std::process::exit(64);
        }
    }
}

fn named(name: &str) -> Kernel {
    let kernel = Kernel::ALL.into_iter().find(|kernel| kernel.name() == name);
    kernel.filter(|kernel| kernel.is_available()).unwrap_or_else(|| {
        eprintln!("picket-kernels-bench: this CPU has no kernel {name}");
        std::process::exit(64);
    })
}

fn layers(kernel: Kernel, images: usize) {
    let mut all = (0, Duration::ZERO);
    for (in_channels, out_channels, side, stride) in LAYERS {
        let geometry = Geometry {
            in_channels,
            out_channels,
            groups: 1,
            windows: Windows {
                input: [side; 2],
                kernel: [3; 2],
                stride: [stride; 2],
                dilation: [1; 2],
                pad_before: [1; 2],
                pad_after: [1; 2],
            },
        };
        let (products, time) = (geometry.products(), layer(geometry, kernel, images));
        all = (all.0 + products, all.1 + time);
        let name = format!("{in_channels} -> {out_channels}, {side} x {side} / {stride}");
        print(kernel, &name, products, time);
    }
    print(kernel, "all", all.0, all.1);
}

fn print(kernel: Kernel, name: &str, products: u64, time: Duration) {
    let us = time.as_secs_f64() * 1e6;
    let rate = products as f64 / us.max(1e-3) / 1e3;
    println!("{:<10}  {name:<22}{us:>10.2} µs{rate:>8.1} GMAC/s", kernel.name());
}

/// The median time of an image.
fn layer(geometry: Geometry, kernel: Kernel, images: usize) -> Duration {
    let bytes = |count: usize| (0..count).map(|i| (31 * i * i + 7 * i) as u8);
    let channels = geometry.out_channels;
    let weights = channels * geometry.in_channels * 9;
    // Spread as a trained layer's sums are, and cut off at 0 as by ReLU.
    let scale = 1.0 / (100.0 * (geometry.in_channels as f32 * 9.0).sqrt());
    let quantised = Quantised { signed: false, zero: 0 };
    let order = if geometry.in_channels == 3 { Order::Planar } else { Order::ChannelLast };
    let image: Vec<u8> = bytes(geometry.input_len()).collect();
    let mut output = vec![0; geometry.output_len()];
    let convolution = Convolution {
        geometry,
        weights: bytes(weights).map(|byte| byte as i8).collect(),
        weight_zeros: vec![],
        bias: vec![0; channels],
        scales: vec![scale; channels],
        input: quantised,
        output: quantised,
    };
    let layer = Layer::pack(&convolution, kernel).expect("the kernels take a layer of this shape");
    let mut times: Vec<Duration> = (0..images)
        .map(|_| {
            let started = Instant::now();
            layer.run(&image, order, &mut output);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(images / 2).copied().unwrap_or_default()
}
