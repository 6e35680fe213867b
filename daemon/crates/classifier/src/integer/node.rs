//! A part of a network as one node of the stock engine's graph, with an arena in the state of each session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::plan::LaneId;
use tract_onnx::tract_hir::internal::{Expansion, Solver, TensorProxy, expand};
use tract_onnx::tract_hir::ops::unimpl::UnimplementedOp;

use crate::bounds;
use crate::integer::cut::Region;
use crate::integer::ir::{Border, Form, Graph};
use crate::integer::plan::plan;
use crate::integer::program::{Arena, Given, Program, Step, Wanted};
use picket_kernels::{Kernel, Refusal};

/// A kernel refuses a part that it did not refuse when the graph was read.
#[derive(Debug, thiserror::Error)]
#[error("a kernel refuses a part in integers: {0}")]
pub struct Unplanned(Refusal);

/// Puts the parts in the places of their placeholders.
///
/// # Errors
/// `Unplanned`: the stock engine can still run the file. `FileFault` where it asks for too much.
pub fn place(model: &mut InferenceModel, regions: Vec<Region>, kernel: Kernel) -> TractResult<()> {
    let mut regions: HashMap<String, Region> =
        regions.into_iter().map(|region| (region.name.clone(), region)).collect();
    let mut bytes = 0_usize;
    // Of another op, a node of the file has the name by chance.
    for node in model.nodes.iter_mut().filter(|node| node.op_is::<UnimplementedOp>()) {
        if let Some(region) = regions.remove(&node.name) {
            let program = plan(&region.graph, kernel).map_err(Unplanned)?;
            bytes = bytes.saturating_add(program.bytes());
            bounds::buffers(bytes)?;
            let typed = |border: &Border| Typed::of(border, &region.graph);
            let region = IntegerRegion {
                program: Arc::new(program),
                inputs: region.graph.inputs.iter().map(typed).collect(),
                outputs: region.graph.outputs.iter().map(typed).collect(),
            };
            node.op = expand(Placed(region));
        }
    }
    Ok(())
}

/// Type and axes of a tensor at the border.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Typed {
    datum_type: DatumType,
    dims: Vec<usize>,
}

impl Typed {
    fn of(border: &Border, graph: &Graph) -> Typed {
        let datum_type = match border.form {
            Form::Reals | Form::Mean | Form::Scores(_) => f32::datum_type(),
            Form::Bytes if graph.tensors[border.tensor].quantised.signed => i8::datum_type(),
            Form::Bytes => u8::datum_type(),
        };
        Typed { datum_type, dims: border.dims.clone() }
    }
}

/// A part of a network in integers.
#[derive(Clone, Debug)]
pub struct IntegerRegion {
    program: Arc<Program>,
    inputs: Vec<Typed>,
    outputs: Vec<Typed>,
}

impl IntegerRegion {
    pub fn steps(&self) -> &[Step] {
        &self.program.steps
    }

    pub fn kernel(&self) -> Kernel {
        self.program.kernel
    }

    /// Returns how long the buffers of a run are together.
    pub fn bytes(&self) -> usize {
        self.program.bytes()
    }
}

impl PartialEq for IntegerRegion {
    fn eq(&self, other: &IntegerRegion) -> bool {
        Arc::ptr_eq(&self.program, &other.program)
    }
}

impl Eq for IntegerRegion {}

/// The same before the graph is typed.
#[derive(Clone, Debug)]
struct Placed(IntegerRegion);

impl Expansion for Placed {
    fn name(&self) -> StaticName {
        "Integers".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.0.outputs.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> TractResult<()> {
        let ends = self.0.inputs.iter().zip(inputs).chain(self.0.outputs.iter().zip(outputs));
        for (typed, proxy) in ends {
            let dims: TVec<TDim> = typed.dims.iter().map(|dim| dim.to_dim()).collect();
            solver.equals(&proxy.datum_type, typed.datum_type)?;
            solver.equals(&proxy.shape, dims)?;
        }
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.0.clone(), inputs)
    }
}

impl Op for IntegerRegion {
    fn name(&self) -> StaticName {
        "Integers".into()
    }

    op_as_typed_op!();
}

impl EvalOp for IntegerRegion {
    not_out_of_plan!();

    fn state(&self, _context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        let arena = self.program.arena();
        Ok(Some(Box::new(Session { arena, timed: false, times: Vec::new() })))
    }
}

impl TypedOp for IntegerRegion {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.outputs.iter().map(|typed| typed.datum_type.fact(&typed.dims)).collect())
    }

    as_op!();
}

/// What one run after the other writes into.
#[derive(Clone, Debug)]
pub struct Session {
    arena: Arena,
    /// Whether a run says how long each of its steps takes.
    pub timed: bool,
    pub times: Vec<Duration>,
}

impl OpState for Session {
    fn eval(
        &mut self,
        _context: &EvalContext,
        op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let region = op.downcast_ref::<IntegerRegion>().context("the state is another node's")?;
        let program = &*region.program;
        for (at, (input, typed)) in inputs.iter().zip(&region.inputs).enumerate() {
            ensure!(input.shape() == &typed.dims[..], "an input of {:?}", input.shape());
            let view = input.try_as_plain_ram()?;
            let given = match typed.datum_type {
                DatumType::F32 => Given::Reals(view.as_slice::<f32>()?),
                _ => Given::Bytes(view.as_bytes()),
            };
            program.enter(&mut self.arena, at, &given);
        }
        if self.timed {
            self.times = program.run_timed(&mut self.arena);
        } else {
            program.run(&mut self.arena);
        }
        let mut outputs = tvec!();
        for (at, typed) in region.outputs.iter().enumerate() {
            let mut output = Tensor::zero_dt(typed.datum_type, &typed.dims)?;
            let mut view = output.try_as_plain_ram_mut()?;
            let wanted = match typed.datum_type {
                DatumType::F32 => Wanted::Reals(view.as_slice_mut::<f32>()?),
                _ => Wanted::Bytes(view.as_bytes_mut()),
            };
            program.leave(&self.arena, at, wanted);
            outputs.push(output.into_tvalue());
        }
        Ok(outputs)
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}
