#!/usr/bin/env python3
"""Write mixed.onnx, a small quantised net of many forms, and mixed.logits, what ONNX Runtime answers to the golden sample.

    .cache/venv/bin/python daemon/tests/data/qconv/make.py

Random weights, some at the ends of their range. In order: u8 with scales per channel and padding in
the attribute; 1x1 with stride 2; max pooling; 3x3 with stride 2 behind a Pad node; a Pad
with another value than the zero point before a convolution; a dilated convolution; scales per tensor without a bias.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[2] / "training"))
from reference import session  # noqa: E402

CLASSES = 10
rng = np.random.default_rng(7)


class Net:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.wire, self.channels = "x", 3
        self.scale, self.zero = np.float32(1 / 64), np.uint8(121)

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, inputs: list[str], **attributes: object) -> None:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.wire, *inputs], [name], name, **attributes))
        self.wire = name

    def conv(self, channels: int, kernel: int, per_channel: bool = True, bias: bool = True,
             **attributes: object) -> None:
        weights = rng.integers(-128, 128, (channels, self.channels, kernel, kernel)).astype(np.int8)
        # So that sums fill the range of the output, and reach beyond it.
        spread = 74 * np.sqrt(self.channels) * kernel
        scales = rng.uniform(0.5, 1.5, channels if per_channel else 1).astype(np.float32)
        scales /= np.float32(spread)
        zeros = np.zeros(len(scales), np.int8)
        if not per_channel:
            scales, zeros = scales[0], zeros[0]
        y_scale = np.float32(self.scale * 1.5)
        y_zero = np.uint8(rng.integers(90, 140))
        constants = [self.scale, self.zero, weights, scales, zeros, y_scale, y_zero]
        if bias:
            constants.append(rng.integers(-2000, 2000, channels).astype(np.int32))
        self.node("QLinearConv", [self.constant(value) for value in constants],
                  kernel_shape=[kernel] * 2, **attributes)
        self.channels, self.scale, self.zero = channels, y_scale, y_zero

    def pad(self, value: np.uint8) -> None:
        pads = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
        self.node("Pad", [self.constant(pads), self.constant(value)])


def main() -> None:
    net = Net()
    net.conv(16, 3, pads=[1] * 4)
    net.conv(24, 1, strides=[2, 2])
    net.node("MaxPool", [], kernel_shape=[2, 2])
    net.pad(net.zero)
    net.conv(33, 3, strides=[2, 2])
    net.pad(np.uint8(net.zero + 1))
    net.conv(8, 3)
    net.conv(8, 3, dilations=[2, 2], pads=[2] * 4)
    net.conv(16, 3, per_channel=False, bias=False, pads=[1] * 4)
    net.node("DequantizeLinear", [net.constant(net.scale), net.constant(net.zero)])
    net.node("GlobalAveragePool", [])
    net.node("Flatten", [])
    head = rng.normal(0, 0.1, (CLASSES, net.channels)).astype(np.float32)
    net.node("Gemm", [net.constant(head)], transB=1)
    shape = ["N", 3, 32, 32]
    graph = helper.make_graph(
        net.nodes, "mixed",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(net.wire, TensorProto.FLOAT, ["N", CLASSES])],
        net.constants)
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / "mixed.onnx")

    pixels = np.asarray(Image.open(HERE.parents[2] / "crates/classifier/embedded/golden.png").convert("RGB"))
    found = session(HERE / "mixed.onnx").run(None, {"x": pixels.transpose(2, 0, 1)[None]})[0][0]
    (HERE / "mixed.logits").write_text("".join(f"{logit:.6f}\n" for logit in found))
    print(*(f"{logit:.6f}" for logit in found))


if __name__ == "__main__":
    main()
