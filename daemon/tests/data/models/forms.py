#!/usr/bin/env python3
"""Write models in forms of other exporters, with the scores that ONNX Runtime gives, and models that ask
for too much.

    .cache/venv/bin/python daemon/tests/data/models/forms.py

operators.onnx has every QOperator node that becomes floats here; softmax-i8.onnx ends as a full-integer
Keras model does after tf2onnx; external.onnx keeps its constants in external.onnx.data. The scores of
Picket's formula picture (crates/classifier/src/golden.rs) are in their metadata. The files in huge/ ask
for gigabytes or have too many nodes; of those in doubtful/ the answers would be wrong.
"""
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
SIDE = 16
CLASSES = 5
MS = "com.microsoft"


class Net:
    """A graph that is written node by node; quantised tensors are (name, scale, zero)."""

    def __init__(self, element: type) -> None:
        self.rng = np.random.default_rng(17)
        self.element = element
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, inputs: list[str], domain: str = "", **attributes: object) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, domain=domain, **attributes))
        return name

    def parameters(self, scale: float, zero: int) -> list[str]:
        return [self.constant(np.float32(scale)), self.constant(self.element(zero))]

    def conv(self, x: list[str], channels: tuple[int, int], scale: float) -> list[str]:
        weights = self.rng.integers(-127, 128, (channels[1], channels[0], 3, 3)).astype(np.int8)
        y = self.parameters(scale, 100)
        bias = self.rng.integers(-3000, 3000, channels[1]).astype(np.int32)
        inputs = [*x, self.constant(weights), self.constant(np.float32(0.004)),
                  self.constant(np.int8(0)), *y, self.constant(bias)]
        return [self.node("QLinearConv", inputs, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), *y]

    def ms(self, op: str, inputs: list[str], scale: float, zero: int, *, last: bool = True,
           **attributes: object) -> list[str]:
        y = self.parameters(scale, zero)
        inputs = [*inputs, *y] if last else [*y, *inputs]
        return [self.node(op, inputs, MS, **attributes), *y]


def operators() -> onnx.ModelProto:
    net = Net(np.uint8)
    x = ["x", *net.parameters(1 / 64, 128)]
    a = net.conv(x, (3, 6), 0.05)
    b = net.conv(a, (6, 6), 0.06)
    a = net.ms("QLinearAdd", [*a, *b], 0.08, 110)
    c = net.ms("QLinearSigmoid", a, 1 / 256, 0)
    a = net.ms("QLinearMul", [*a, *c], 0.06, 90)
    d = net.ms("QLinearLeakyRelu", b, 0.05, 30, alpha=0.1)
    a = net.ms("QLinearConcat", [*a, *d], 0.06, 60, last=False, axis=1)
    a = net.ms("QLinearAveragePool", a, 0.05, 60, kernel_shape=[2, 2], strides=[2, 2])
    a = net.ms("QLinearGlobalAveragePool", a, 0.03, 70)
    a[0] = net.node("Flatten", [a[0]])
    weights = net.rng.integers(-127, 128, (12, CLASSES)).astype(np.int8)
    scales = net.rng.uniform(0.01, 0.05, CLASSES).astype(np.float32)
    bias = net.rng.integers(-3000, 3000, CLASSES).astype(np.int32)
    zeros = net.constant(np.zeros(CLASSES, np.int8))
    gemm = [*a, net.constant(weights), net.constant(scales), zeros, net.constant(bias)]
    net.ms("QGemm", gemm, 0.4, 120)
    return model(net, TensorProto.UINT8, TensorProto.UINT8)


def softmax_i8() -> onnx.ModelProto:
    net = Net(np.int8)
    pixels = net.node("DequantizeLinear", ["x", *net.parameters(1 / 128, 0)])
    mean = net.node("Flatten", [net.node("GlobalAveragePool", [pixels])])
    head = net.rng.normal(0, 400, (3, CLASSES)).astype(np.float32)
    logits = net.node("MatMul", [mean, net.constant(head)])
    q = net.parameters(0.5, -5)
    logits = net.node("DequantizeLinear", [net.node("QuantizeLinear", [logits, *q]), *q])
    logits_name = logits
    q = net.parameters(1 / 256, -128)
    net.node("QuantizeLinear", [net.node("Softmax", [logits], axis=-1), *q])
    return model(net, TensorProto.INT8, TensorProto.INT8, logits_name)


def external() -> onnx.ModelProto:
    net = Net(np.uint8)
    pixels = net.node("DequantizeLinear", ["x", *net.parameters(1 / 64, 128)])
    weights = net.rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    net.node("Conv", [pixels, net.constant(weights)], kernel_shape=[3, 3])
    mean = net.node("Flatten", [net.node("GlobalAveragePool", ["conv1"])])
    net.node("MatMul", [mean, net.constant(net.rng.normal(0, 9, (8, CLASSES)).astype(np.float32))])
    return model(net, TensorProto.UINT8, TensorProto.FLOAT)


def model(net: Net, element: int, output: int, scored: str | None = None) -> onnx.ModelProto:
    """With the scores of the formula picture: those of the tensor `scored`, else of the output."""
    last = net.nodes[-1].output[0]
    graph = helper.make_graph(
        net.nodes, "net",
        [helper.make_tensor_value_info("x", element, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(last, output, ["N", CLASSES])], net.constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(MS, 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(made, {"golden_logits": ",".join(map(str, scores(made, scored)))})
    return made


def scores(made: onnx.ModelProto, scored: str | None) -> np.ndarray:
    shown = onnx.ModelProto()
    shown.CopyFrom(made)
    if scored is not None:
        shown.graph.output[0].CopyFrom(
            helper.make_tensor_value_info(scored, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    at = np.arange(SIDE * SIDE * 3, dtype=np.int64)
    pixels = ((31 * at * at + 7 * at) % 256).astype(np.uint8).reshape(SIDE, SIDE, 3)
    if made.graph.input[0].type.tensor_type.elem_type == TensorProto.INT8:
        pixels = (pixels ^ 0x80).view(np.int8)
    found = session.run(None, {"x": pixels.transpose(2, 0, 1)[np.newaxis].copy()})[0].reshape(-1)
    if found.dtype == np.uint8:
        # The output's own scale and zero point, as operators() gives them to QGemm.
        return (found.astype(np.float32) - 120) * np.float32(0.4)
    return found


def huge(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """`nodes` write z, which the mean and the last layer follow."""
    head = [helper.make_node("GlobalAveragePool", ["z"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("MatMul", ["f", "head"], ["y"])]
    constants["head"] = np.ones((3, CLASSES), np.float32)
    start = [helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT)]
    graph = helper.make_graph(
        start + nodes + head, "net",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def added(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The mean of the constant c, which `nodes` write, is added to the pixels."""
    return [*nodes, helper.make_node("ReduceMean", ["c"], ["m"], keepdims=0),
            helper.make_node("Add", ["floats", "m"], ["z"])]


def all_huge() -> dict[str, onnx.ModelProto]:
    node, one, shape = helper.make_node, np.ones(1, np.float32), np.array([1 << 16, 1 << 17])
    chain = [node("Relu", [f"r{i}" if i else "floats"], [f"r{i + 1}"]) for i in range(2500)]
    doubled = [node("Concat", [f"c{i}"] * 2, [f"c{i + 1}" if i < 32 else "c"], axis=0)
               for i in range(33)]
    return {
        "expand": huge(added(node("Expand", ["one", "s"], ["c"])), {"one": one, "s": shape}),
        "constant-of-shape": huge(added(node("ConstantOfShape", ["s"], ["c"])), {"s": shape}),
        "tile": huge(added(node("Tile", ["one", "s"], ["c"])),
                     {"one": one, "s": np.array([1 << 33])}),
        "doubled": huge(added(*doubled), {"c0": one}),
        "outer": huge(added(node("Mul", ["a", "b"], ["c"])),
                      {"a": np.ones((90_000, 1), np.float32), "b": np.ones((1, 90_000), np.float32)}),
        "pad": huge([node("Pad", ["floats", "s"], ["z"])],
                    {"s": np.array([0, 0, 40_000, 40_000, 0, 0, 40_000, 40_000])}),
        "resize": huge([node("Resize", ["floats", "", "s"], ["z"], mode="nearest")],
                       {"s": np.array([1, 1, 4000, 4000], np.float32)}),
        "chain": huge([*chain, node("Identity", ["r2500"], ["z"])], {}),
    }


def all_doubtful() -> dict[str, onnx.ModelProto]:
    """What is answered wrongly by the engine, or is no score, is refused by name."""
    node, one = helper.make_node, np.ones(1, np.float32)
    by_hand = huge([node("Identity", ["floats"], ["z"])], {})
    by_hand.graph.node[-1].output[0] = "l"
    by_hand.graph.node.extend([
        node("Mul", ["l", "small"], ["s"]), node("Exp", ["s"], ["e"]),
        node("ReduceSum", ["e", "axis"], ["sum"], keepdims=1), node("Div", ["e", "sum"], ["y"])])
    by_hand.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    by_hand.graph.initializer.append(numpy_helper.from_array(np.float32(0.001), "small"))
    numbers = huge([node("Identity", ["floats"], ["z"])], {})
    numbers.graph.node[-1].output[0] = "l"
    numbers.graph.node.append(node("ArgMax", ["l"], ["y"], axis=1))
    numbers.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.INT64, ["N", 1]))
    return {
        "celu": huge([node("Celu", ["floats"], ["z"], alpha=0.3)], {}),
        "lp-pool": huge([node("GlobalLpPool", ["floats"], ["z"])], {}),
        "aligned": huge([node("Resize", ["floats", "", "s"], ["z"],
                              coordinate_transformation_mode="align_corners")],
                        {"s": np.array([1, 1, 1.6, 1.6], np.float32)}),
        "softmax-by-hand": by_hand,
        "arg-max": numbers,
        "mixed": huge([node("Add", ["x", "one"], ["z"])], {"one": one}),
    }


def main() -> None:
    onnx.save(operators(), HERE / "operators.onnx")
    onnx.save(softmax_i8(), HERE / "softmax-i8.onnx")
    (HERE / "external.onnx.data").unlink(missing_ok=True)
    onnx.save(external(), HERE / "external.onnx", save_as_external_data=True,
              location="external.onnx.data", size_threshold=0)
    (HERE / "doubtful").mkdir(exist_ok=True)
    for name, made in all_doubtful().items():
        onnx.save(made, HERE / "doubtful" / f"{name}.onnx")
    (HERE / "huge").mkdir(exist_ok=True)
    for name, made in all_huge().items():
        # 720 KB of ones, which a test writes itself.
        if name != "outer":
            onnx.save(made, HERE / "huge" / f"{name}.onnx")


if __name__ == "__main__":
    main()
