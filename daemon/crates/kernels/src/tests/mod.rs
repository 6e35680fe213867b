//! Every path that this CPU has against definitions, bit for bit: random shapes, views with gaps and
//! borders, random values and the edges of each type.

mod convolution;
mod elementwise;
mod pool;
mod scene;
