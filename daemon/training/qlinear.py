"""A plain integer network as ONNX: standard QLinearConv from raw u8 pixels on, the mean, one linear layer.

What trained it is not its business: it takes numpy arrays, and needs onnx alone.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
IR_VERSION = 8


def graph(quantised: dict, temperature: float, shape: tuple[int, int, int], name: str) -> onnx.ModelProto:
    """u8 `pixels` [N, *shape] (channels, height, width) to f32 `logits` [N, classes].

    `quantised` holds input_scale, input_zero, layers (each with weight int8 [out, in, 3, 3], weight_scale
    [out], bias int32 [out], scale_out, stride) and head (weight [classes, in], bias [classes]).
    """
    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    values = "pixels"
    scale = constant("pixels_scale", np.float32(quantised["input_scale"]))
    zero = constant("pixels_zero", np.uint8(quantised["input_zero"]))
    for at, layer in enumerate(quantised["layers"]):
        weight = layer["weight"]
        out_scale = constant(f"scale{at}", np.float32(layer["scale_out"]))
        out_zero = constant(f"zero{at}", np.uint8(0))
        inputs = [
            values, scale, zero,
            constant(f"weight{at}", weight),
            constant(f"weight_scale{at}", layer["weight_scale"]),
            constant(f"weight_zero{at}", np.zeros(len(weight), np.int8)),
            out_scale, out_zero,
            constant(f"bias{at}", layer["bias"]),
        ]
        stride = layer["stride"]
        nodes.append(helper.make_node(
            "QLinearConv", inputs, [f"conv{at}"], name=f"conv{at}",
            kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride],
        ))
        values, scale, zero = f"conv{at}", out_scale, out_zero
    head = quantised["head"]
    head_weight = constant("head_weight", head["weight"] / np.float32(temperature))
    head_bias = constant("head_bias", head["bias"] / np.float32(temperature))
    nodes += [
        helper.make_node("DequantizeLinear", [values, scale, zero], ["activations"], name="dequantise"),
        helper.make_node("GlobalAveragePool", ["activations"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["features"], name="flatten", axis=1),
        helper.make_node("Gemm", ["features", head_weight, head_bias], ["logits"], name="head", transB=1),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", *shape])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(head["bias"])])
    made = helper.make_graph(nodes, name, [pixels], [logits], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model
