#!/usr/bin/env python3
"""Write the small models that tests load or see refused, with random weights.

    .cache/venv/bin/python daemon/tests/data/models/make.py

One convolution 3 -> 8 with stride 4, mean, last layer. f32.onnx and qdq.onnx can serve; those of `bad`
are refused for what their name says; those of `bare` are what exporters write, and serve once a model.toml
beside them says what is missing.
"""
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
CLASSES = 10
CHANNELS = 8


class Net:
    def __init__(self, wire: str) -> None:
        self.rng = np.random.default_rng(11)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.wire = wire

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: object) -> None:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.wire, *inputs], [name], name, **attributes))
        self.wire = name

    def dequantise(self, name: str, scale: float, zero: np.generic) -> None:
        self.node("DequantizeLinear", self.constant(f"{name}.scale", np.float32(scale)),
                  self.constant(f"{name}.zero", zero))

    def weights(self, in_channels: int = 3) -> np.ndarray:
        return self.rng.integers(-127, 128, (CHANNELS, in_channels, 3, 3)).astype(np.int8)

    def tail(self, classes: int = CLASSES) -> None:
        self.node("GlobalAveragePool")
        self.node("Flatten")
        head = self.rng.normal(0, 1, (classes, CHANNELS)).astype(np.float32)
        self.node("Gemm", self.constant("head", head), transB=1)


CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [4, 4]}


def f32(side: int | str = 32, classes: int = CLASSES, channels: int = 3, last: str = "",
        open_channels: bool = False, **metadata: str) -> onnx.ModelProto:
    net = Net("x")
    weights = net.weights(channels).astype(np.float32) / 5000
    net.node("Conv", net.constant("weight", weights), **CONV)
    net.node("Relu")
    net.tail(classes)
    if last:
        net.node(last)
    proto = model(net, TensorProto.FLOAT, side, classes, channels="C" if open_channels else channels)
    helper.set_model_props(proto, metadata)
    return proto


def qdq() -> onnx.ModelProto:
    net = Net("x")
    net.dequantise("x", 1 / 64, np.uint8(121))
    pixels = net.wire
    net.wire = net.constant("weight", net.weights(3))
    net.dequantise("weight", 1 / 5000, np.int8(0))
    weights, net.wire = net.wire, pixels
    net.node("Conv", weights, **CONV)
    net.node("QuantizeLinear", net.constant("y.scale", np.float32(1 / 64)),
             net.constant("y.zero", np.uint8(0)))
    net.dequantise("y2", 1 / 64, np.uint8(0))
    net.tail()
    return model(net, TensorProto.UINT8)


def integer(scale: float = 1 / 64, element: int = TensorProto.UINT8, opset: int = 13
            ) -> onnx.ModelProto:
    net = Net("x")
    kind = {TensorProto.UINT8: np.uint8, TensorProto.INT8: np.int8}.get(element, np.uint8)
    names = ["x.scale", "x.zero", "weight", "weight.scale", "weight.zero", "y.scale", "y.zero"]
    values = [np.float32(1 / 64), kind(121), net.weights(3), np.float32(1 / 5000), np.int8(0),
              np.float32(scale), np.uint8(0)]
    net.node("QLinearConv", *map(net.constant, names, values), **CONV)
    net.dequantise("y2", 1 / 64, np.uint8(0))
    net.tail()
    return model(net, element, opset=opset)


def model(net: Net, element: int, side: int | str = 32, classes: int = CLASSES, opset: int = 13,
          channels: int | str = 3) -> onnx.ModelProto:
    graph = helper.make_graph(
        net.nodes, "net",
        [helper.make_tensor_value_info("x", element, ["N", channels, side, side])],
        [helper.make_tensor_value_info(net.wire, TensorProto.FLOAT, ["N", classes])],
        net.constants)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def main() -> None:
    nan = float("nan")
    damaged = f32()
    for constant in damaged.graph.initializer:
        if constant.name == "head":
            values = numpy_helper.to_array(constant).copy()
            values[3, 3] = nan
            constant.CopyFrom(numpy_helper.from_array(values, "head"))
    scaled = {"Image.NominalPixelRange": "NominalRange_0_255"}
    good = {"f32": f32(**scaled), "qdq": qdq()}
    names = ["weld_%d" % at for at in range(CLASSES)]
    bare = {"unscaled": f32(), "softmax": f32(last="Softmax"), "grey": f32(channels=1),
            "sigmoid": f32(classes=1, last="Sigmoid"), "one-score": f32(classes=1),
            "open-axes": f32(side="S", open_channels=True),
            "classes-100": f32(classes=100),
            "two-classes": f32(classes=2, labels="ok,defect"),
            "names": f32(names=str(dict(enumerate(names))), task="classify"),
            "detect": f32(names=str(dict(enumerate(names))), task="detect"),
            "id2label": f32(id2label=json.dumps(dict(enumerate(names)))),
            "long-version": f32(version="9" * 1000)}
    bad = {"opset-7": integer(opset=7), "opset-99": integer(opset=99),
           "side-4": f32(side=4),
           "type-i64": integer(element=TensorProto.INT64),
           "scale-nan": integer(scale=nan), "scale-negative": integer(scale=-1.0),
           "weight-nan": damaged}
    for name, proto in [*good.items(), *bad.items(), *bare.items()]:
        if name not in bad:
            onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, HERE / f"{name}.onnx")


if __name__ == "__main__":
    main()
