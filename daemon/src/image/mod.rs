//! Bounded bytes to a 32×32 RGB8 image.
