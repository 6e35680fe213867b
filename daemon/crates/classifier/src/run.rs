//! A graph that is ready to run: tensors in, numbers out, and the time that each node takes. It knows
//! neither the file nor what the numbers mean.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::OpState;
use tract_onnx::tract_core::plan;

use crate::integer::Session;

use picket_picture::Values;

/// A step of the graph, constants and the input left out.
#[derive(Clone, Debug)]
pub struct Node {
    /// The node of the engine's graph, and which of its own steps it is.
    pub(crate) place: (usize, Option<usize>),
    pub name: String,
    pub op: String,
    pub kernel: &'static str,
    /// Multiply-accumulates for one image, where the node is a convolution of ours.
    pub products: Option<u64>,
    /// Why it is the stock engine's, where that is known.
    pub why: Option<&'static str>,
}

/// Where the time of a run goes, each as its median over several.
#[derive(Clone, Debug)]
pub struct Times {
    /// Of each of `ModelInfo::nodes`.
    pub nodes: Vec<Duration>,
    /// What the stock engine takes around its nodes, with a session that was there before.
    pub around: Duration,
}

/// A graph that is ready to run. Threads may share it: each run has a session of its own, which the next one
/// takes over. There are as many as ever ran at once.
pub struct Plan {
    plan: Arc<TypedSimplePlan>,
    idle: Mutex<Vec<Run>>,
}

/// What one run after the other writes into.
struct Run {
    state: TypedSimpleState,
    /// The input of the run before.
    input: Option<TValue>,
}

impl Plan {
    pub fn new(plan: Arc<TypedSimplePlan>) -> Plan {
        Plan { plan, idle: Mutex::new(Vec::new()) }
    }

    /// Runs it once and returns its output as floats.
    ///
    /// # Errors
    /// Whatever the engine fails with, on one line.
    pub fn run(&self, input: &picket_picture::Tensor) -> Result<Vec<f32>, String> {
        let run = || {
            let idle = self.idle().pop();
            let Run { mut state, input: before } = match idle {
                Some(run) => run,
                None => Run { state: self.plan.spawn()?, input: None },
            };
            let input = filled(before, input)?;
            let outputs = state.run(tvec!(input.clone()));
            picket_kernels::leave_vectors();
            let outputs = outputs?;
            // One that failed or panicked does not come back.
            self.idle().push(Run { state, input: Some(input) });
            let output = &outputs[0];
            Ok(output.cast_to::<f32>()?.view().as_slice::<f32>()?.to_vec())
        };
        run().map_err(|error: TractError| one_line(&error))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Run>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns where the time of a run goes, over `runs` images.
    ///
    /// # Errors
    /// Whatever the engine fails with, on one line.
    pub fn times(
        &self,
        nodes: &[Node],
        input: &picket_picture::Tensor,
        runs: usize,
    ) -> Result<Times, String> {
        let mut times = BTreeMap::<(usize, Option<usize>), Vec<Duration>>::new();
        let mut around = Vec::with_capacity(runs);
        let mut run = || {
            let input: TValue = tensor(input)?.into();
            let mut state = self.plan.spawn()?;
            for _ in 0..runs {
                let (began, mut within) = (Instant::now(), Duration::ZERO);
                state.run_plan_with_eval(
                    tvec!(input.clone()),
                    |context, mut state, node, inputs| {
                        if let Some(session) = session(&mut state) {
                            session.timed = true;
                        }
                        let started = Instant::now();
                        let result = plan::eval(context, state.as_deref_mut(), node, inputs);
                        let own = session(&mut state).map(|session| &session.times[..]);
                        for (step, time) in own.unwrap_or_default().iter().enumerate() {
                            times.entry((node.id, Some(step))).or_default().push(*time);
                        }
                        times.entry((node.id, None)).or_default().push(started.elapsed());
                        within += started.elapsed();
                        result
                    },
                )?;
                around.push(began.elapsed().saturating_sub(within));
            }
            Ok(())
        };
        run().map_err(|error: TractError| one_line(&error))?;
        let of_node = |node: &Node| times.remove(&node.place).map(median).unwrap_or_default();
        Ok(Times { nodes: nodes.iter().map(of_node).collect(), around: median(around) })
    }
}

/// Returns the middle one; none of none.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Returns the state of a part in integers.
fn session<'a>(state: &'a mut Option<&mut (dyn OpState + 'static)>) -> Option<&'a mut Session> {
    state.as_deref_mut()?.downcast_mut::<Session>()
}

/// Puts an input where the one before was, if nothing holds that any more.
fn filled(before: Option<TValue>, input: &picket_picture::Tensor) -> TractResult<TValue> {
    let Some(before) = before.filter(TValue::is_exclusive) else {
        return Ok(tensor(input)?.into());
    };
    let mut tensor = before.into_tensor();
    let mut view = tensor.try_as_plain_ram_mut()?;
    match &input.values {
        Values::U8(values) => view.as_slice_mut::<u8>()?.copy_from_slice(values),
        Values::I8(values) => view.as_slice_mut::<i8>()?.copy_from_slice(values),
        Values::F32(values) => view.as_slice_mut::<f32>()?.copy_from_slice(values),
    }
    Ok(tensor.into())
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
