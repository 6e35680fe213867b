//! A graph that is ready to run: tensors in, numbers out, and the time that each node takes. It knows
//! neither the file nor what the numbers mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan;

use picket_picture::Values;

/// A step of the graph, constants and the input left out.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) id: usize,
    pub name: String,
    pub op: String,
    pub kernel: &'static str,
    /// Multiply-accumulates for one image, where the node is a convolution of ours.
    pub products: Option<u64>,
}

/// A graph that is ready to run. Threads may share it: a run keeps its state to itself.
pub struct Plan(Arc<TypedSimplePlan>);

impl Plan {
    pub fn new(plan: Arc<TypedSimplePlan>) -> Plan {
        Plan(plan)
    }

    /// Runs it once and returns its output as floats.
    ///
    /// # Errors
    /// Whatever the engine fails with, on one line.
    pub fn run(&self, input: &picket_picture::Tensor) -> Result<Vec<f32>, String> {
        let run = || {
            let outputs = self.0.run(tvec!(tensor(input)?.into()));
            picket_kernels::leave_vectors();
            let output = &outputs?[0];
            Ok(output.cast_to::<f32>()?.view().as_slice::<f32>()?.to_vec())
        };
        run().map_err(|error: TractError| one_line(&error))
    }

    /// Returns the median time of each of `nodes` over `runs` images.
    ///
    /// # Errors
    /// Whatever the engine fails with, on one line.
    pub fn times(
        &self,
        nodes: &[Node],
        input: &picket_picture::Tensor,
        runs: usize,
    ) -> Result<Vec<Duration>, String> {
        let mut times = BTreeMap::<usize, Vec<Duration>>::new();
        let mut run = || {
            let input: TValue = tensor(input)?.into();
            let mut state = self.0.spawn()?;
            for _ in 0..runs {
                state.run_plan_with_eval(
                    tvec!(input.clone()),
                    |context, state, node, inputs| {
                        let started = Instant::now();
                        let result = plan::eval(context, state, node, inputs);
                        times.entry(node.id).or_default().push(started.elapsed());
                        result
                    },
                )?;
            }
            Ok(())
        };
        run().map_err(|error: TractError| one_line(&error))?;
        times.values_mut().for_each(|times| times.sort_unstable());
        let median = |node: &Node| {
            let times = times.get(&node.id)?;
            times.get(times.len() / 2).copied()
        };
        Ok(nodes.iter().map(median).map(Option::unwrap_or_default).collect())
    }
}

fn tensor(input: &picket_picture::Tensor) -> TractResult<Tensor> {
    let shape = input.shape;
    match &input.values {
        Values::U8(values) => Tensor::from_shape(&shape, values),
        Values::I8(values) => Tensor::from_shape(&shape, values),
        Values::F32(values) => Tensor::from_shape(&shape, values),
    }
}

/// Puts tract's cause chain on one line, for errors of one line.
pub fn one_line(error: &TractError) -> String {
    let chain: Vec<String> =
        error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    chain.join(": ")
}

/// Says that the engine can't run a file, and at which node, of its reasons that are its own.
pub fn unable(error: &TractError) -> String {
    let chain = one_line(error);
    let node = chain.split_once("node #").and_then(|(_, rest)| {
        let (name, rest) = rest.split_once('"')?.1.split_once('"')?;
        let op: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric()).collect();
        Some(format!("its node {name:?} ({op})"))
    });
    format!("the engine can't run {}", node.as_deref().unwrap_or("it"))
}
