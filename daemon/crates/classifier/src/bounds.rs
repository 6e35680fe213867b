//! What a file may ask for before an engine spends anything on it. It knows no operator.

use tract_onnx::pb::GraphProto;
use tract_onnx::prelude::*;

use crate::error::FileFault;

/// The most nodes of a graph. The engine's time to load grows with the square of them; the largest
/// mobile nets have 600 with all their quantisation, ResNet-152 some 1,600.
const NODES_MAX: usize = 2_000;

/// The most tensors that all nodes read together: a QLinearConv reads nine.
const READS_MAX: usize = 10 * NODES_MAX;

/// The most memory that all tensors between nodes would take together for one picture, bytes: ten times
/// ResNet-18's at 224×224.
const TENSORS_BYTES_MAX: u64 = 1 << 30;

/// Counts nodes and what they read, those of nested graphs too.
///
/// # Errors
/// A sentence without its subject's name.
pub fn nodes(graph: &GraphProto) -> Result<(), String> {
    let (mut found, mut reads) = (0_usize, 0_usize);
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        found += graph.node.len();
        reads += graph.node.iter().map(|node| node.input.len()).sum::<usize>();
        let attributes = graph.node.iter().flat_map(|node| &node.attribute);
        graphs.extend(attributes.flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)));
    }
    if found > NODES_MAX {
        return Err(format!("it has {found} nodes, at most {NODES_MAX} are run"));
    }
    if reads > READS_MAX {
        return Err(format!("its nodes read {reads} tensors, at most {READS_MAX} are read"));
    }
    Ok(())
}

/// Bounds the buffers of the parts in integers, in which tensors have borders, before one is made.
///
/// # Errors
/// A sentence without its subject's name.
pub fn buffers(bytes: usize) -> Result<(), FileFault> {
    if bytes as u64 > TENSORS_BYTES_MAX {
        return Err(FileFault(format!(
            "its tensors take {bytes} bytes with their borders for one picture, at most \
             {TENSORS_BYTES_MAX} are given"
        )));
    }
    Ok(())
}

/// Adds up what the tensors between nodes take, before one of them is made.
///
/// # Errors
/// A sentence without its subject's name.
pub fn tensors(model: &TypedModel) -> TractResult<()> {
    let mut sum = 0_u64;
    for node in &model.nodes {
        for output in node.outputs.iter().filter(|output| output.fact.konst.is_none()) {
            let Some(shape) = output.fact.shape.as_concrete() else { continue };
            let size = output.fact.datum_type.size_of() as u64;
            let bytes = shape.iter().fold(size, |bytes, axis| bytes.saturating_mul(*axis as u64));
            sum = sum.saturating_add(bytes);
        }
    }
    if sum > TENSORS_BYTES_MAX {
        return Err(FileFault(format!(
            "its tensors take {sum} bytes for one picture, at most {TENSORS_BYTES_MAX} are given"
        ))
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::node;

    #[test]
    fn nodes_that_read_too_much_are_refused() {
        let reads = |count: usize| {
            let mut concat = node("Concat", [], "joined");
            concat.input = vec!["x".to_string(); count];
            nodes(&GraphProto { node: vec![concat], ..GraphProto::default() })
        };
        assert_eq!(reads(READS_MAX), Ok(()));
        let refused = "its nodes read 20001 tensors, at most 20000 are read".to_string();
        assert_eq!(reads(READS_MAX + 1), Err(refused));
    }
}
