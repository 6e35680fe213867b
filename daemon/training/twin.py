#!/usr/bin/env python3
"""Write the QDQ twin of a network of QLinearConv: the same numbers, as other runtimes read them.

    python3 daemon/training/twin.py MODEL.onnx TWIN.onnx

Each QLinearConv becomes DequantizeLinear, Conv, QuantizeLinear, with the weights and the bias behind a
DequantizeLinear of their own; the scale of a bias is x_scale * w_scale, as QLinearConv defines it. The
rest stays. Before it writes, it compares both in ONNX Runtime on random pictures.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

PICTURES = 100
# Both runs round the same sums; what is left is the order in which floats are added.
TOLERANCE = 1e-4


def twin(model: onnx.ModelProto) -> onnx.ModelProto:
    constants = {constant.name: constant for constant in model.graph.initializer}
    made: list[onnx.NodeProto] = []
    added: dict[str, onnx.TensorProto] = {}
    floats: dict[tuple[str, ...], str] = {}

    def dequantised(quantised: list[str], axis: int | None) -> str:
        """The floats of a tensor, one node for all of its readers."""
        key = tuple(quantised)
        if key not in floats:
            floats[key] = f"{quantised[0]}_floats"
            attributes = {} if axis is None else {"axis": axis}
            made.append(helper.make_node("DequantizeLinear", quantised, [floats[key]],
                                         name=floats[key], **attributes))
        return floats[key]

    for node in model.graph.node:
        if node.op_type != "QLinearConv":
            made.append(node)
            continue
        x, w, y = node.input[0:3], node.input[3:6], node.input[6:8]
        inputs = [dequantised(list(x), None), dequantised(list(w), 0)]
        if len(node.input) > 8:
            scale = (numpy_helper.to_array(constants[x[1]]) * numpy_helper.to_array(constants[w[1]]))
            names = [node.input[8], f"{node.input[8]}_scale", f"{node.input[8]}_zero"]
            added[names[1]] = numpy_helper.from_array(scale.astype(np.float32), names[1])
            added[names[2]] = numpy_helper.from_array(np.zeros(scale.shape, np.int32), names[2])
            inputs.append(dequantised(names, 0))
        sums = f"{node.output[0]}_sums"
        conv = helper.make_node("Conv", inputs, [sums], name=node.name)
        conv.attribute.extend(node.attribute)
        made += [conv, helper.make_node("QuantizeLinear", [sums, *y], [node.output[0]],
                                        name=f"{node.name}_quantise")]
    graph = helper.make_graph(made, f"{model.graph.name}-qdq", model.graph.input,
                              model.graph.output, [*model.graph.initializer, *added.values()])
    made_model = helper.make_model(graph, opset_imports=model.opset_import,
                                   ir_version=model.ir_version)
    made_model.metadata_props.extend(model.metadata_props)
    onnx.checker.check_model(made_model)
    return made_model


def logits(model: onnx.ModelProto, pictures: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: picture[None]})[0] for picture in pictures])


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    model = onnx.load(source)
    made = twin(model)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    pictures = np.random.default_rng(1).integers(0, 256, (PICTURES, *shape), np.uint8)
    off = np.abs(logits(model, pictures) - logits(made, pictures)).max()
    if off > TOLERANCE:
        sys.exit(f"twin: logits differ by {off}")
    onnx.save(made, target)
    print(f"{target}: logits within {off:.1e} of {source.name}'s on {PICTURES} pictures")


if __name__ == "__main__":
    main()
