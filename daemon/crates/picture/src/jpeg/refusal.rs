//! What can be wrong with a JPEG file: short forms of the errors, and the faults that a decoding loop
//! returns.

use crate::error::DecodeError;

/// What is wrong with the entropy-coded data of a scan. It is a byte, so that the loops which decode a
/// block can return it for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The data ended before the last block.
    Ended,
    /// Bits that begin no code of the table.
    Code,
    /// A run of zeros that leads out of its block or band, or of blocks that leads beyond the last one.
    Run,
    /// A mean brightness that no picture of 8 bits has.
    Level,
    /// A restart marker is missing, or another one stands in its place.
    Restart,
    /// Data is left where a marker should stand.
    Excess,
    /// A run of zeros that no encoder writes: a lost block or packet.
    Zeros,
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> DecodeError {
        match fault {
            Fault::Ended => truncated("a scan ends before its last block"),
            Fault::Code => damaged("a scan holds an illegal Huffman code"),
            Fault::Run => damaged("a scan holds a run beyond its blocks"),
            Fault::Level => damaged("a scan holds a brightness beyond 8 bits"),
            Fault::Restart => damaged("a restart marker is missing or out of order"),
            Fault::Excess => damaged("a scan holds more data than its blocks"),
            Fault::Zeros => damaged("a part of a scan is lost, zeros stand in its place"),
        }
    }
}

pub fn cut() -> DecodeError {
    truncated("its end marker is missing")
}

pub fn truncated(missing: &'static str) -> DecodeError {
    DecodeError::Truncated { format: "jpeg", missing }
}

pub fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged { format: "jpeg", reason: reason.to_owned() }
}

pub fn unsupported(feature: &str) -> DecodeError {
    DecodeError::Unsupported { format: "jpeg", feature: feature.to_owned() }
}
