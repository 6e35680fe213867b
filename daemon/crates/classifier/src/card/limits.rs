//! What is read of a model's card at most.

/// Longest name and version, bytes: every record of the log holds both.
pub const NAME_BYTES_MAX: usize = 128;

/// Longest label, bytes: every record of the log holds one.
pub const LABEL_BYTES_MAX: usize = 128;

/// Largest model.toml, config.json, preprocessor_config.json or file of labels, bytes: 10,000 labels of
/// the longest kind, twice over, and room for golden logits.
pub const CARD_BYTES_MAX: u64 = 4 << 20;

/// Largest golden picture, bytes: as large as a request's body by default.
pub const PICTURE_BYTES_MAX: u64 = 16 << 20;

/// Most golden pictures: each is decoded and run when the model is loaded.
pub const PICTURES_MAX: usize = 64;

/// Most files that `[files]` lists: each is read to its end.
pub const FILES_MAX: usize = 128;

/// Longest name of a file in a bundle, bytes: as long as file systems allow.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// Largest mean and deviation, either sign: far beyond any pixel.
pub const NORMALISATION_MAX: f32 = 1e6;

/// Longest shorter side before the crop, in pixels: four times the largest input.
pub const SHORTER_SIDE_MAX: usize = 4096;

/// How much of a value an error shows, characters.
pub const SHOWN_MAX: usize = 120;

/// Largest sum of all golden pictures, bytes: they are held while the model is loaded.
pub const PICTURES_BYTES_MAX: u64 = 64 << 20;
