//! Picket: image classification on edge boxes, with a prediction log that survives power cuts.

#![forbid(unsafe_code)]

pub mod image;
