//! What one kernel computes: a node, or a convolution with what is done to its bytes last.

use crate::integer::ir::{Graph, Node, Op, TensorId};

/// A node, and the one behind it that is computed with it.
pub struct Job<'a> {
    pub node: &'a Node,
    pub last: Option<&'a Node>,
    /// The node's inputs, and of a sum behind it the other input.
    pub inputs: Vec<TensorId>,
    pub output: TensorId,
}

impl Job<'_> {
    pub fn op(&self) -> &Op {
        &self.node.op
    }

    pub fn name(&self) -> String {
        self.node.name.clone()
    }
}

/// Returns a graph's jobs, in an order in which they can be computed.
pub fn jobs(graph: &Graph) -> Vec<Job<'_>> {
    let lasts = Lasts::of(graph);
    let mut jobs = Vec::with_capacity(graph.nodes.len());
    for (at, node) in graph.nodes.iter().enumerate() {
        if lasts.is_last[at] {
            continue;
        }
        let mut inputs = node.inputs.clone();
        let last = lasts.behind[at].map(|last| &graph.nodes[last]);
        if let Some(Node { op: Op::Add, inputs: both, .. }) = last {
            inputs.extend(both.iter().filter(|input| **input != node.output));
        }
        let output = last.unwrap_or(node).output;
        jobs.push(Job { node, last, inputs, output });
    }
    jobs
}

/// Which nodes are computed as the last step of another.
struct Lasts {
    behind: Vec<Option<usize>>,
    is_last: Vec<bool>,
}

impl Lasts {
    fn of(graph: &Graph) -> Lasts {
        let count = graph.nodes.len();
        let mut lasts = Lasts { behind: vec![None; count], is_last: vec![false; count] };
        let mut makers = vec![None; graph.tensors.len()];
        for (at, node) in graph.nodes.iter().enumerate() {
            // Both inputs of a sum are there when the later one is made.
            let later = node.inputs.iter().max_by_key(|input| makers[**input]);
            let maker = later.and_then(|input| makers[*input]);
            if let Some(maker) = maker.filter(|maker| Lasts::fit(graph, *maker, node)) {
                lasts.behind[maker] = Some(at);
                lasts.is_last[at] = true;
                makers[node.output] = Some(maker);
            } else {
                makers[node.output] = Some(at);
            }
        }
        lasts
    }

    /// Whether a node can be the last step of the one that makes an input of it.
    fn fit(graph: &Graph, maker: usize, node: &Node) -> bool {
        let tensor = graph.nodes[maker].output;
        let read = graph.nodes.iter().flat_map(|node| &node.inputs);
        let once = read.filter(|input| **input == tensor).count() == 1
            && node.inputs.contains(&tensor)
            && graph.outputs.iter().all(|border| border.tensor != tensor);
        let simple = match &node.op {
            Op::Table(tables) => tables.len() == 1,
            Op::Add => true,
            _ => false,
        };
        once && simple && matches!(graph.nodes[maker].op, Op::Convolve(_))
    }
}
