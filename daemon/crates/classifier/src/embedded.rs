//! The model compiled into the binary, and the picture that proves it: the one room that knows CIFAR-10. It runs nothing.

/// The model compiled into the binary; its card is docs/model.md.
pub const MODEL: &[u8] = include_bytes!("../embedded/cifar10-int8.onnx");

/// The picture that proves a model: at load, and again and again while it serves.
pub const SAMPLE: &[u8] = include_bytes!("../embedded/golden.png");

/// What ONNX Runtime 1.32.0 gave for it with the embedded model (daemon/training/golden.py).
pub const SAMPLE_LOGITS: &str = include_str!("../embedded/golden.logits");

/// Largest accepted difference from `SAMPLE_LOGITS`: two runtimes that round alike differ by the
/// order in which they add floats, some 1e-6.
pub const SAMPLE_TOLERANCE: f32 = 1e-4;
