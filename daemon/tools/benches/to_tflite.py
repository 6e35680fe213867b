#!/usr/bin/env python3
"""Write the int8 network of an ONNX file as a .tflite file for LiteRT.

    python3 to_tflite.py MODEL.onnx MODEL.tflite

Takes a plain chain: QLinearConv, each after a Pad node or none, then DequantizeLinear,
GlobalAveragePool, Flatten, Gemm. LiteRT has its own ideal form, and gets it: i8 activations (u8 minus
128, zero point as well), channels last, weights [out][height][width][in] with a scale for each output
channel, SAME padding where that is the same, or else a PAD that XNNPACK makes part of the convolution.
The numbers are the file's own: nothing is quantised anew.
"""
import sys
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

FILE_IDENTIFIER = b"TFL3"
BUILTIN = schema.BuiltinOperator
TYPES = {np.dtype(np.int8): schema.TensorType.INT8, np.dtype(np.int32): schema.TensorType.INT32,
         np.dtype(np.float32): schema.TensorType.FLOAT32}


class Writer:
    """A flatbuffer of one subgraph, tensor by tensor and operator by operator."""

    def __init__(self) -> None:
        self.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.codes: list[schema.OperatorCodeT] = []

    def tensor(self, name: str, shape: list[int], dtype: type, data: np.ndarray | None = None,
               scales: np.ndarray | None = None, zero: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, shape, TYPES[np.dtype(dtype)]
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        if scales is not None:
            scales = np.atleast_1d(scales).astype(np.float32)
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
            tensor.quantization.quantizedDimension = 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, data: np.ndarray, scales: np.ndarray | None = None) -> int:
        return self.tensor(name, list(data.shape), data.dtype.type, data, scales)

    def operator(self, code: int, version: int, inputs: list[int], output: int,
                 kind: int = schema.BuiltinOptions.NONE, options: object = None) -> int:
        known = [existing.builtinCode for existing in self.codes]
        if code not in known:
            entry = schema.OperatorCodeT()
            # Readers of old files look at the first, of one byte.
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, code, version
            self.codes.append(entry)
            known.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = known.index(code), inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.graph.operators.append(operator)
        return output

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version, model.description = 3, "written by picket's to_tflite.py"
        model.subgraphs, model.buffers, model.operatorCodes = [self.graph], self.buffers, self.codes
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())


class Chain:
    """The ONNX graph's one wire, followed into the writer."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.out = Writer()
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.pads = np.zeros(4, int)
        side = graph.input[0].type.tensor_type.shape.dim[2].dim_value
        first = next(node for node in graph.node if node.op_type == "QLinearConv")
        scale, zero = self.values(first, 1), self.values(first, 2)
        self.shape = [1, side, side, 3]
        self.first = self.wire = self.activations("x", scale, zero)
        self.scale, self.zero = scale, shifted(zero)

    def values(self, node: onnx.NodeProto, at: int) -> np.ndarray:
        return self.constants[node.input[at]]

    def activations(self, name: str, scale: np.ndarray, zero: np.ndarray) -> int:
        return self.out.tensor(name, self.shape, np.int8, scales=scale, zero=shifted(zero))

    def pad(self, node: onnx.NodeProto) -> None:
        pads = self.values(node, 1)
        self.pads = np.array([pads[2], pads[3], pads[6], pads[7]])

    def conv(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        pads = self.pads + np.array(attributes.get("pads", [0, 0, 0, 0]))
        self.pads = np.zeros(4, int)
        strides = attributes.get("strides", [1, 1])
        weights = self.values(node, 3)
        out_channels, _, height, width = weights.shape
        padding = schema.Padding.VALID
        if pads.any():
            if strides == [1, 1] and list(pads) == [height // 2, width // 2] * 2:
                padding = schema.Padding.SAME
            else:
                self.explicit_pad(node.name, pads)
                pads = np.zeros(4, int)
        scales = np.broadcast_to(np.atleast_1d(self.values(node, 4)), out_channels)
        bias = self.values(node, 8) if len(node.input) > 8 else np.zeros(out_channels, np.int32)
        inputs = [
            self.wire,
            self.out.constant(f"{node.name}.weights", weights.transpose(0, 2, 3, 1), scales),
            self.out.constant(f"{node.name}.bias", bias, scales * np.float32(self.scale)),
        ]
        self.shape = [1] + [
            (self.shape[1 + axis] + pads[axis] + pads[axis + 2] - [height, width][axis])
            // strides[axis] + 1 for axis in (0, 1)] + [out_channels]
        self.shape = [int(size) for size in self.shape]
        scale, zero = self.values(node, 6), self.values(node, 7)
        output = self.activations(node.name, scale, zero)
        options = schema.Conv2DOptionsT()
        options.padding = padding
        options.strideH, options.strideW = strides
        options.dilationHFactor = options.dilationWFactor = 1
        self.wire = self.out.operator(BUILTIN.CONV_2D, 3, inputs, output,
                                      schema.BuiltinOptions.Conv2DOptions, options)
        self.scale, self.zero = scale, shifted(zero)

    def explicit_pad(self, name: str, pads: np.ndarray) -> None:
        table = np.array([[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]], np.int32)
        self.shape = [int(size) for size in np.array(self.shape) + table.sum(1)]
        padded = self.out.tensor(f"{name}.padded", self.shape, np.int8, scales=self.scale,
                                 zero=int(self.zero))
        inputs = [self.wire, self.out.constant(f"{name}.pads", table)]
        self.wire = self.out.operator(BUILTIN.PAD, 2, inputs, padded,
                                      schema.BuiltinOptions.PadOptions, schema.PadOptionsT())

    def dequantise(self, node: onnx.NodeProto) -> None:
        output = self.out.tensor(node.name, self.shape, np.float32)
        self.wire = self.out.operator(BUILTIN.DEQUANTIZE, 2, [self.wire], output,
                                      schema.BuiltinOptions.DequantizeOptions,
                                      schema.DequantizeOptionsT())

    def mean(self, node: onnx.NodeProto) -> None:
        self.shape = [1, self.shape[3]]
        output = self.out.tensor(node.name, self.shape, np.float32)
        inputs = [self.wire, self.out.constant(f"{node.name}.axes", np.array([1, 2], np.int32))]
        options = schema.ReducerOptionsT()
        options.keepDims = False
        self.wire = self.out.operator(BUILTIN.MEAN, 2, inputs, output,
                                      schema.BuiltinOptions.ReducerOptions, options)

    def dense(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        weights = self.values(node, 1)
        weights = weights if attributes.get("transB") else weights.T
        inputs = [self.wire, self.out.constant(f"{node.name}.weights", weights)]
        bias = self.values(node, 2) if len(node.input) > 2 else np.zeros(len(weights), np.float32)
        inputs.append(self.out.constant(f"{node.name}.bias", bias))
        self.shape = [1, len(weights)]
        output = self.out.tensor(node.name, self.shape, np.float32)
        self.wire = self.out.operator(BUILTIN.FULLY_CONNECTED, 1, inputs, output,
                                      schema.BuiltinOptions.FullyConnectedOptions,
                                      schema.FullyConnectedOptionsT())


def shifted(zero: np.ndarray) -> int:
    """A zero point as that of i8."""
    return int(zero) - (128 if zero.dtype == np.uint8 else 0)


def convert(model: Path) -> bytes:
    graph = onnx.load(model).graph
    chain = Chain(graph)
    steps = {"Pad": chain.pad, "QLinearConv": chain.conv, "DequantizeLinear": chain.dequantise,
             "GlobalAveragePool": chain.mean, "Flatten": lambda node: None, "Gemm": chain.dense}
    for node in graph.node:
        if node.op_type not in steps:
            raise ValueError(f"{node.op_type} is none of {', '.join(steps)}")
        steps[node.op_type](node)
    return chain.out.finish([chain.first], [chain.wire])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.split("\n\n")[1].strip())
    Path(sys.argv[2]).write_bytes(convert(Path(sys.argv[1])))
