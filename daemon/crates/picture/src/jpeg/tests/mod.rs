//! JPEG files of other encoders: `container` patches their segments, `damage` their scans, `pixels` compares
//! what they show with libjpeg.

mod container;
mod damage;
mod patch;
mod pixels;
