//! Convolutions of known networks, one by one: how long each takes on one picture.

use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_kernels::{Conv, Convolution, Geometry, Kernel, Last, Quantised, SLACK, View, Windows};

/// One convolution: its name, and everything that its time depends on.
#[derive(Clone, Copy)]
pub struct Layer {
    /// Channels in and out, and groups of them.
    pub channels: [usize; 3],
    /// Side of the input, of the kernel, and stride.
    pub sides: [usize; 3],
    /// How often the network has it.
    pub times: usize,
}

const fn layer(channels: [usize; 3], sides: [usize; 3], times: usize) -> Layer {
    Layer { channels, sides, times }
}

/// The embedded network: all 3 × 3 with a border of 1. What it has twice is here twice, so that its
/// instructions can be counted.
const EMBEDDED: &[Layer] = &[
    layer([3, 16, 1], [32, 3, 1], 1),
    layer([16, 32, 1], [32, 3, 2], 1),
    layer([32, 48, 1], [16, 3, 1], 1),
    layer([48, 96, 1], [16, 3, 2], 1),
    layer([96, 96, 1], [8, 3, 1], 1),
    layer([96, 96, 1], [8, 3, 1], 1),
    layer([96, 128, 1], [8, 3, 2], 1),
    layer([128, 128, 1], [4, 3, 1], 1),
    layer([128, 128, 1], [4, 3, 1], 1),
];

/// ResNet-18 at 224 × 224 (He 2016, table 1), its head included.
const RESNET18: &[Layer] = &[
    layer([3, 64, 1], [224, 7, 2], 1),
    layer([64, 64, 1], [56, 3, 1], 4),
    layer([64, 128, 1], [56, 3, 2], 1),
    layer([64, 128, 1], [56, 1, 2], 1),
    layer([128, 128, 1], [28, 3, 1], 3),
    layer([128, 256, 1], [28, 3, 2], 1),
    layer([128, 256, 1], [28, 1, 2], 1),
    layer([256, 256, 1], [14, 3, 1], 3),
    layer([256, 512, 1], [14, 3, 2], 1),
    layer([256, 512, 1], [14, 1, 2], 1),
    layer([512, 512, 1], [7, 3, 1], 3),
    layer([512, 1000, 1], [1, 1, 1], 1),
];

/// MobileNetV2 at 224 × 224 (Sandler 2018, table 2), its head included.
const MOBILENETV2: &[Layer] = &[
    layer([3, 32, 1], [224, 3, 2], 1),
    layer([32, 32, 32], [112, 3, 1], 1),
    layer([32, 16, 1], [112, 1, 1], 1),
    layer([16, 96, 1], [112, 1, 1], 1),
    layer([96, 96, 96], [112, 3, 2], 1),
    layer([96, 24, 1], [56, 1, 1], 1),
    layer([24, 144, 1], [56, 1, 1], 2),
    layer([144, 144, 144], [56, 3, 1], 1),
    layer([144, 24, 1], [56, 1, 1], 1),
    layer([144, 144, 144], [56, 3, 2], 1),
    layer([144, 32, 1], [28, 1, 1], 1),
    layer([32, 192, 1], [28, 1, 1], 3),
    layer([192, 192, 192], [28, 3, 1], 2),
    layer([192, 32, 1], [28, 1, 1], 2),
    layer([192, 192, 192], [28, 3, 2], 1),
    layer([192, 64, 1], [14, 1, 1], 1),
    layer([64, 384, 1], [14, 1, 1], 4),
    layer([384, 384, 384], [14, 3, 1], 4),
    layer([384, 64, 1], [14, 1, 1], 3),
    layer([384, 96, 1], [14, 1, 1], 1),
    layer([96, 576, 1], [14, 1, 1], 3),
    layer([576, 576, 576], [14, 3, 1], 2),
    layer([576, 96, 1], [14, 1, 1], 2),
    layer([576, 576, 576], [14, 3, 2], 1),
    layer([576, 160, 1], [7, 1, 1], 1),
    layer([160, 960, 1], [7, 1, 1], 3),
    layer([960, 960, 960], [7, 3, 1], 3),
    layer([960, 160, 1], [7, 1, 1], 2),
    layer([960, 320, 1], [7, 1, 1], 1),
    layer([320, 1280, 1], [7, 1, 1], 1),
    layer([1280, 1000, 1], [1, 1, 1], 1),
];

/// SqueezeNet 1.1 at 224 × 224 (Iandola 2016): its stem, the parts of its fire modules, its head.
const SQUEEZENET: &[Layer] = &[
    layer([3, 64, 1], [224, 3, 2], 1),
    layer([64, 16, 1], [56, 1, 1], 1),
    layer([16, 64, 1], [56, 1, 1], 2),
    layer([16, 64, 1], [56, 3, 1], 2),
    layer([128, 16, 1], [56, 1, 1], 1),
    layer([128, 32, 1], [28, 1, 1], 1),
    layer([32, 128, 1], [28, 1, 1], 2),
    layer([32, 128, 1], [28, 3, 1], 2),
    layer([256, 32, 1], [28, 1, 1], 1),
    layer([256, 48, 1], [14, 1, 1], 1),
    layer([48, 192, 1], [14, 1, 1], 2),
    layer([48, 192, 1], [14, 3, 1], 2),
    layer([384, 48, 1], [14, 1, 1], 1),
    layer([384, 64, 1], [14, 1, 1], 1),
    layer([64, 256, 1], [14, 1, 1], 2),
    layer([64, 256, 1], [14, 3, 1], 2),
    layer([512, 64, 1], [14, 1, 1], 1),
    layer([512, 1000, 1], [14, 1, 1], 1),
];

/// What MobileNetV3 and EfficientNet-Lite0 add: depthwise 5 × 5.
const FIVES: &[Layer] = &[
    layer([96, 96, 96], [28, 5, 2], 1),
    layer([240, 240, 240], [14, 5, 1], 2),
    layer([672, 672, 672], [14, 5, 1], 2),
    layer([672, 672, 672], [14, 5, 2], 1),
    layer([1152, 1152, 1152], [7, 5, 1], 3),
];

/// Returns the layers of a network.
pub fn network(name: &str) -> Option<&'static [Layer]> {
    match name {
        "embedded" => Some(EMBEDDED),
        "resnet18" => Some(RESNET18),
        "mobilenetv2" => Some(MOBILENETV2),
        "squeezenet" => Some(SQUEEZENET),
        "fives" => Some(FIVES),
        _ => None,
    }
}

/// Prints the time of each layer and of all, and the share of `peak` (GMAC/s).
pub fn print(layers: &[Layer], kernel: Kernel, images: usize, peak: Option<f64>) {
    let mut all = (0, Duration::ZERO);
    for layer in layers {
        let geometry = layer.geometry();
        let (products, time) = (geometry.products(), measure(&geometry, kernel, images));
        let times = layer.times as u32;
        all = (all.0 + products * u64::from(times), all.1 + time * times);
        line(kernel, &layer.name(), (products, time), peak);
    }
    line(kernel, "all", all, peak);
}

fn line(kernel: Kernel, name: &str, (products, time): (u64, Duration), peak: Option<f64>) {
    let us = time.as_secs_f64() * 1e6;
    let rate = products as f64 / us.max(1e-3) / 1e3;
    let share = peak.map(|peak| format!("{:>5.0} %", 100.0 * rate / peak)).unwrap_or_default();
    println!("{:<10}  {name:<34}{us:>10.2} µs{rate:>8.1} GMAC/s{share}", kernel.name());
}

impl Layer {
    fn geometry(&self) -> Geometry {
        let [in_channels, out_channels, groups] = self.channels;
        let [input, kernel, stride] = self.sides;
        Geometry {
            in_channels,
            out_channels,
            groups,
            windows: Windows {
                input: [input; 2],
                kernel: [kernel; 2],
                stride: [stride; 2],
                dilation: [1; 2],
                pad_before: [kernel / 2; 2],
                pad_after: [kernel / 2; 2],
            },
        }
    }

    fn name(&self) -> String {
        let [input, output, groups] = self.channels;
        let [side, kernel, stride] = self.sides;
        let depthwise = if groups > 1 { " depthwise" } else { "" };
        format!(
            "{side}² {kernel}×{kernel}/{stride}{depthwise} {input} -> {output}, {}×",
            self.times
        )
    }
}

/// Returns the least time of an image.
fn measure(geometry: &Geometry, kernel: Kernel, images: usize) -> Duration {
    let bytes = |count: usize| (0..count).map(|i| (31 * i * i + 7 * i + i / 251) as u8);
    let channels = geometry.out_channels;
    let products = geometry.products_of_sum();
    // Spread as a trained layer's sums are, and cut off at 0 as by ReLU.
    let scale = 1.0 / (100.0 * (products as f32).sqrt());
    let quantised = Quantised { signed: false, zero: 0 };
    let weights = bytes(channels * products).map(|byte| (byte as i8).max(-127));
    let convolution = Convolution {
        geometry: geometry.clone(),
        weights: Arc::new(weights.collect()),
        weight_zeros: vec![],
        bias: vec![0; channels],
        scales: vec![scale; channels],
        input: quantised,
        output: quantised,
    };
    let pixel = if geometry.in_channels == 3 { 4 } else { geometry.in_channels };
    let conv = Conv::pack(&convolution, Last::Nothing, pixel, kernel)
        .expect("the kernels take a layer of this shape");
    let (from, len) = bordered(&geometry.windows, geometry.in_channels, pixel);
    let input: Vec<u8> = bytes(len).collect();
    let to = View::dense(0, geometry.output(), channels);
    let mut output = vec![0; geometry.output_len() + SLACK];
    let times = (0..images).map(|_| {
        let started = Instant::now();
        conv.run(&input, from, &mut output, to);
        started.elapsed()
    });
    times.min().unwrap_or_default()
}

/// Returns the view of an input with its border, and the bytes of its buffer.
fn bordered(windows: &Windows, channels: usize, pixel: usize) -> (View, usize) {
    let [above, below, left, right] = windows.border();
    let [rows, columns] = windows.input;
    let row = (left + columns + right) * pixel;
    let offset = above * row + left * pixel;
    (View { offset, rows, columns, channels, pixel, row }, (above + rows + below) * row + SLACK)
}
