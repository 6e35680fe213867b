//! Nets of which one thing is changed to what it must not be, everywhere in turn: each is refused or runs. Ours
//! neither panics nor takes long. It knows nothing of how a graph is read.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use picket_picture::Tensor;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto};

use crate::golden;
use crate::small_nets::{Net, OWN, int, ints};

/// What no axis, size, step, border or number of groups is.
const NUMBERS: [i64; 7] = [-1, 0, 65_537, 1 << 32, 1 << 62, i64::MIN, i64::MAX];

/// What a net of this size takes, many times over: a test machine is busy.
const TIME_MAX: Duration = Duration::from_secs(20);

thread_local! {
    /// Where this thread panicked last.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether a place is in the engine's code, or in what that is made of.
fn is_of_others(place: &str) -> bool {
    place.contains("/registry/")
}

/// Remembers where a thread panics.
fn watch_panics() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string);
            if !place.as_deref().is_some_and(is_of_others) {
                before(panic);
            }
            PANICKED.with(|panicked| *panicked.borrow_mut() = place);
        }));
    });
}

/// Loads and runs a net, and says why it does not. Whatever comes of it, it is no panic of our own.
fn attempt(what: &str, graph: GraphProto) -> Result<(), String> {
    let net = Net(graph);
    let started = Instant::now();
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let parsed = net.prepare(OWN).map_err(|error| error.to_string())?;
        let picture = golden::picture(&parsed.input);
        parsed.plan.run(&Tensor::new(&picture, &parsed.input))
    }));
    assert!(started.elapsed() < TIME_MAX, "{what}: {:?}", started.elapsed());
    let place = PANICKED.take().unwrap_or_default();
    // What tract panics on, `Model::load` refuses.
    assert!(tried.is_ok() || is_of_others(&place), "{what}: a panic at {place}");
    tried.unwrap_or(Err(place)).map(drop)
}

/// A net with every operator whose numbers are read here.
fn every_form() -> Net {
    let mut net = Net::eight([8, 8]);
    net.weights("k.w", &[8, 1, 3, 3]);
    let conv = net.op("Conv", &["c", "k.w"], "k");
    conv.attribute.extend([
        int("group", 8),
        ints("kernel_shape", &[3, 3]),
        ints("strides", &[1, 1]),
    ]);
    conv.attribute.extend([ints("pads", &[1, 1, 1, 1]), ints("dilations", &[1, 1])]);
    net.quantise("k", 0.05, "kq");
    let pool = net.op("MaxPool", &["kq"], "m");
    pool.attribute.extend([ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]);
    net.op("AveragePool", &["m"], "a").attribute.push(ints("kernel_shape", &[1, 1]));
    net.quantise("a", 0.05, "aq");
    let split = net.op("Split", &["aq"], "left");
    split.attribute.extend([int("axis", 1), ints("split", &[3, 5])]);
    split.output.push("right".to_string());
    net.op("Concat", &["right", "left"], "joined").attribute.push(int("axis", 1));
    for (name, numbers) in
        [("from", 0), ("to", 8), ("axis", 1)].map(|(name, number)| (name, vec![number]))
    {
        net.integers(name, &numbers);
    }
    net.op("Slice", &["joined", "from", "to", "axis"], "sliced");
    net.integers("parts", &[1, 2, 4, 4, 4]);
    net.op("Reshape", &["sliced", "parts"], "in_parts");
    net.op("Transpose", &["in_parts"], "turned").attribute.push(ints("perm", &[0, 2, 1, 3, 4]));
    net.integers("whole", &[1, 8, 4, 4]);
    net.op("Reshape", &["turned", "whole"], "shuffled");
    net.integers("border", &[0, 0, 1, 1, 0, 0, 1, 1]);
    net.op("Pad", &["shuffled", "border"], "padded");
    net.integers("front", &[0]);
    net.op("Unsqueeze", &["padded", "front"], "five");
    net.op("Squeeze", &["five", "front"], "four");
    net.op("Sigmoid", &["four"], "gate");
    net.quantise("gate", 0.004, "gq");
    net.op("Mul", &["four", "gq"], "gated");
    net.quantise("gated", 0.05, "g");
    net.op("Add", &["g", "four"], "sum");
    net.quantise("sum", 0.05, "s");
    net.op("ReduceMean", &["s"], "mean")
        .attribute
        .extend([ints("axes", &[2, 3]), int("keepdims", 0)]);
    net.quantise("mean", 0.02, "mq");
    net.weights("h.w", &[8, 5]);
    net.op("Gemm", &["mq", "h.w"], "h").attribute.push(int("transB", 0));
    net.quantise("h", 0.02, "y");
    net
}

/// The names that operators of ONNX Runtime give quantised layers.
fn qlinear() -> Net {
    let mut net = Net::new([8, 8], 0.02, 128);
    net.floats("s", &[], &[0.02]);
    net.tensor("z", DataType::Uint8, &[], vec![100]);
    net.tensor("w", DataType::Int8, &[8, 3, 1, 1], vec![7; 24]);
    net.tensor("wz", DataType::Int8, &[], vec![0]);
    net.op("QLinearConv", &["x", "xs", "xz", "w", "s", "wz", "s", "z"], "c");
    net.op("QLinearAdd", &["c", "s", "z", "c", "s", "z", "s", "z"], "a");
    net.op("QLinearConcat", &["s", "z", "a", "s", "z", "c", "s", "z"], "j")
        .attribute
        .push(int("axis", 1));
    net.op("QLinearGlobalAveragePool", &["j", "s", "z", "s", "z"], "m");
    net.op("Flatten", &["m"], "f").attribute.push(int("axis", 1));
    net.tensor("hw", DataType::Int8, &[16, 5], vec![3; 80]);
    net.op("QGemm", &["f", "s", "z", "hw", "s", "wz", "", "s", "z"], "h");
    net.op("DequantizeLinear", &["h", "s", "z"], "y");
    net
}

/// A name of what is changed, and the net with that.
type Changed = (String, GraphProto);

fn changed(graph: &GraphProto, what: String, change: impl FnOnce(&mut GraphProto)) -> Changed {
    let mut graph = graph.clone();
    change(&mut graph);
    (what, graph)
}

fn wrong_attributes(graph: &GraphProto) -> impl Iterator<Item = Changed> + '_ {
    let stated = graph.node.iter().enumerate().flat_map(|(node, it)| {
        it.attribute.iter().enumerate().map(move |(at, attribute)| (node, at, attribute))
    });
    stated.flat_map(move |(node, at, attribute)| {
        let name = move |number: &str| format!("{} of node {node}: {number}", attribute.name);
        let numbers = NUMBERS.into_iter().map(move |number| {
            changed(graph, name(&number.to_string()), |graph| {
                let stated = &mut graph.node[node].attribute[at];
                stated.i = number;
                stated.ints.fill(number);
            })
        });
        let lengths = [0, 1, 3, 40].into_iter().map(move |length| {
            changed(graph, name(&format!("{length} numbers")), |graph| {
                graph.node[node].attribute[at].ints = vec![1; length];
            })
        });
        numbers.chain(lengths)
    })
}

fn wrong_edges(graph: &GraphProto) -> impl Iterator<Item = Changed> + '_ {
    let reads = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(node, it)| (0..it.input.len()).map(move |at| (node, at)));
    let others = move |node: usize| {
        let own = graph.node[node].output[0].clone();
        let last = graph.node[graph.node.len() - 1].output[0].clone();
        [
            own,
            last,
            "nowhere".to_string(),
            String::new(),
            "x".to_string(),
            graph.initializer[1].name.clone(),
        ]
    };
    let edges = reads.flat_map(move |(node, at)| {
        others(node).into_iter().map(move |other| {
            changed(graph, format!("input {at} of node {node}: {other:?}"), |graph| {
                graph.node[node].input[at] = other;
            })
        })
    });
    let nodes = (0..graph.node.len()).flat_map(move |node| {
        let silent = changed(graph, format!("node {node} writes nothing"), |graph| {
            graph.node[node].output.clear()
        });
        let deaf = changed(graph, format!("node {node} reads nothing"), |graph| {
            graph.node[node].input.clear()
        });
        let gone = changed(graph, format!("no node {node}"), |graph| drop(graph.node.remove(node)));
        [silent, deaf, gone]
    });
    edges.chain(nodes)
}

fn wrong_constants(graph: &GraphProto) -> impl Iterator<Item = Changed> + '_ {
    (0..graph.initializer.len()).flat_map(move |at| {
        let name = graph.initializer[at].name.clone();
        let shapes: [&[i64]; 7] =
            [&[0], &[0, 1 << 62], &[1 << 62, 0], &[1 << 33, 1 << 33], &[-1], &[i64::MAX], &[1; 40]];
        let owner = name.clone();
        let shapes = shapes.into_iter().map(move |dims| {
            changed(graph, format!("the shape of {owner}: {dims:?}"), |graph| {
                let constant = &mut graph.initializer[at];
                constant.dims = dims.to_vec();
                if dims.contains(&0) {
                    constant.raw_data = Vec::new();
                }
            })
        });
        let owner = name.clone();
        let kinds =
            [DataType::Float, DataType::Int32, DataType::Int64, DataType::String, DataType::Uint16];
        let kinds = kinds.into_iter().map(move |kind| {
            changed(graph, format!("the type of {owner}: {kind:?}"), |graph| {
                let constant = &mut graph.initializer[at];
                let count = constant.dims.iter().product::<i64>() as usize;
                let size = [4, 4, 8, 0, 2]
                    [kinds.iter().position(|it| *it == kind).expect("it is one of them")];
                constant.raw_data = vec![0x7f; count * size];
                constant.data_type = kind as i32;
            })
        });
        let short = changed(graph, format!("a byte of {name} is missing"), |graph| {
            graph.initializer[at].raw_data.pop();
        });
        let ends = [0, 0x7f, 0x80, 0xff].into_iter().map(move |byte| {
            changed(graph, format!("all bytes of {name}: {byte}"), |graph| {
                graph.initializer[at].raw_data.fill(byte);
            })
        });
        let last = [i64::MIN, i64::MAX].into_iter().filter_map(move |number| {
            let is_wide = graph.initializer[at].data_type == DataType::Int64 as i32;
            is_wide.then(|| {
                changed(graph, format!("all numbers of constant {at}: {number}"), |graph| {
                    let words = graph.initializer[at].raw_data.as_chunks_mut::<8>().0;
                    words.fill(number.to_le_bytes());
                })
            })
        });
        shapes.chain(kinds).chain([short]).chain(ends).chain(last)
    })
}

#[track_caller]
fn assert_survived(changes: impl Iterator<Item = Changed>) {
    watch_panics();
    let (mut all, mut ran) = (0, 0);
    for (what, graph) in changes {
        all += 1;
        ran += usize::from(attempt(&what, graph).is_ok());
    }
    assert!(all > 20 && ran < all, "{ran} of {all} ran");
}

#[test]
fn what_is_changed_in_the_nets_here_runs_before_it_is() {
    for net in [every_form(), qlinear()] {
        assert_eq!(attempt("unchanged", net.0), Ok(()));
    }
}

#[test]
fn numbers_of_operators_that_can_not_be_are_survived() {
    for net in [every_form(), qlinear()] {
        assert_survived(wrong_attributes(&net.0));
    }
}

#[test]
fn edges_that_can_not_be_are_survived() {
    for net in [every_form(), qlinear()] {
        assert_survived(wrong_edges(&net.0));
    }
}

#[test]
fn constants_that_can_not_be_are_survived() {
    for net in [every_form(), qlinear()] {
        assert_survived(wrong_constants(&net.0));
    }
}

/// Says why a net is refused.
fn refusal(net: &Net) -> String {
    net.prepare(OWN).err().expect("it can't be").to_string()
}

#[test]
fn what_can_not_be_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Net)| {
        let mut net = every_form();
        change(&mut net);
        refusal(&net)
    };
    let stated = |name: &str, numbers: &[i64]| {
        let stated = ints(name, numbers);
        refused(&|net| {
            let conv = net.0.node.iter_mut().find(|node| node.name == "k").unwrap();
            conv.attribute.retain(|it| it.name != stated.name);
            conv.attribute.push(AttributeProto { i: stated.ints[0], ..stated.clone() });
        })
    };
    assert_eq!(stated("pads", &[-1; 4]), "pads of its Conv \"k\" is -1, 0 to 65536 are run");
    assert_eq!(stated("strides", &[0, 1]), "strides of its Conv \"k\" is 0, 1 to 65536 are run");
    assert_eq!(
        stated("dilations", &[1 << 40; 2]),
        "dilations of its Conv \"k\" is 1099511627776, 1 to 65536 are run"
    );
    assert_eq!(stated("group", &[0]), "group of its Conv \"k\" is 0, 1 to 65536 are run");
    assert_eq!(
        stated("pads", &[1; 3]),
        "pads of its Conv \"k\" has 3 numbers, not those of its axes"
    );

    let constant = |name: &str, kind: DataType, dims: &[i64], raw: Vec<u8>| {
        refused(&|net| {
            net.0.initializer.retain(|constant| constant.name != name);
            net.tensor(name, kind, dims, raw.clone());
        })
    };
    let floats = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(
        constant("conv.w.b", DataType::Int8, &[8, 3, 1, 1], vec![0; 23]),
        "its constant \"conv.w.b\" is stored in 23 bytes, its shape needs 24"
    );
    assert_eq!(
        constant("conv.w.b", DataType::Int8, &[0, 1 << 62], vec![]),
        "its constant \"conv.w.b\" is of shape [0, 4611686018427387904], which none has"
    );
    assert_eq!(
        constant("conv.w.b", DataType::Int8, &[1; 40], vec![0]),
        "its constant \"conv.w.b\" has 40 axes, at most 16 are read"
    );
    assert_eq!(
        constant("conv.w.b", DataType::String, &[8, 3, 1, 1], vec![0; 24]),
        "its constant \"conv.w.b\" holds no numbers"
    );
    assert_eq!(
        constant("c.s", DataType::Float, &[], floats(&[f32::NAN])),
        "the scale \"c.s\" of its QuantizeLinear \"c.q\" is NaN, no positive number"
    );
    assert_eq!(
        constant("c.s", DataType::Float, &[0], vec![]),
        "the scale \"c.s\" of its QuantizeLinear \"c.q\" is of another type than floats, or empty"
    );
    assert_eq!(
        constant("c.z", DataType::Int32, &[], 300_i32.to_le_bytes().to_vec()),
        "the zero point \"c.z\" of its QuantizeLinear \"c.q\" is 300, no value of a byte"
    );
    let above = refused(&|net| {
        let zero = net.0.initializer.iter_mut().find(|it| it.name == "c.z").unwrap();
        (zero.raw_data, zero.int32_data) = (Vec::new(), vec![300]);
    });
    assert_eq!(above, "its constant \"c.z\" holds 300, which is no value of its type");
    let silent = refused(&|net| net.0.node[3].output.clear());
    assert_eq!(silent, "its QuantizeLinear \"c.q\" writes nothing");
    let deaf = refused(&|net| net.0.node[3].input.clear());
    assert_eq!(deaf, "its QuantizeLinear \"c.q\" reads nothing");
}

#[test]
fn a_quantised_operator_without_a_tensor_or_a_scale_is_refused_by_name() {
    let refused = |at: usize| {
        let mut net = qlinear();
        net.0.node[1].input[at].clear();
        refusal(&net)
    };
    assert_eq!(refused(3), "its QLinearConv \"c\" has no tensor where one is needed");
    assert_eq!(refused(4), "its QLinearConv \"c\" has no scale where one is needed");
}

#[test]
fn graphs_within_graphs_are_checked_as_well() {
    let mut net = every_form();
    let mut inner = Net::eight([8, 8]);
    inner.0.node[2].attribute.push(int("group", -1));
    for _ in 0..40 {
        let mut outer = Net(GraphProto::default());
        outer.op("If", &["xz"], "z").attribute.push(AttributeProto {
            name: "then_branch".to_string(),
            r#type: AttributeType::Graph as i32,
            g: Some(inner.0),
            ..AttributeProto::default()
        });
        inner = outer;
    }
    net.0.node.extend(inner.0.node);
    assert_eq!(refusal(&net), "group of its Conv \"conv\" is -1, 1 to 65536 are run");
}

/// Layers of sixteen channels each way over 1000² pixels.
fn wide(layers: usize, window: i64) -> Net {
    let mut net = Net::new([1000, 1000], 0.02, 128);
    let (mut from, mut channels) = ("xf".to_string(), 3);
    for layer in 0..layers {
        let [weights, conv, to] = ["w", "c", ""].map(|end| format!("l{layer}{end}"));
        net.weights(&weights, &[16, channels, window, window]);
        net.op("Conv", &[&from, &weights], &conv).attribute.push(ints("pads", &[window / 2; 4]));
        net.quantise(&conv, 0.05, &to);
        (from, channels) = (to, 16);
    }
    net.op("GlobalAveragePool", &[&from], "mean");
    net.op("Flatten", &["mean"], "flat");
    net.quantise("flat", 0.05, "y");
    net
}

#[test]
fn more_products_and_more_tensors_than_a_box_bears_are_refused_by_name() {
    let refused = refusal(&wide(24, 7));
    assert!(
        refused.starts_with("it multiplies ") && refused.ends_with(" times are run"),
        "{refused}"
    );
    let refused = refusal(&wide(69, 1));
    let end = " bytes for one picture, at most 1073741824 are given";
    assert!(refused.starts_with("its tensors take ") && refused.ends_with(end), "{refused}");
}
