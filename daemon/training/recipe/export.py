#!/usr/bin/env python3
"""Write the integer network as ONNX: standard QLinearConv from raw u8 pixels on, then the mean.

    python3 export.py OUT.onnx --version VERSION [--work DIR]

Divides the last layer by the temperature that makes confidences true on the held-out images
(Guo et al. 2017, https://arxiv.org/abs/1706.04599), so that the model carries it. The temperature is
that of int8.pt, which has not seen these images; what is written is final.pt.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference import session  # noqa: E402
from stamp import CIFAR10, stamp  # noqa: E402

from net import CLASSES
from train import WORK, split

NAME = "cifar10-plain"
OPSET = 13
IR_VERSION = 8


def graph(quantised: dict, temperature: float) -> onnx.ModelProto:
    """u8 `pixels` [N, 3, 32, 32] to f32 `logits` [N, 10]."""
    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    values = "pixels"
    scale = constant("pixels_scale", np.float32(quantised["input_scale"]))
    zero = constant("pixels_zero", np.uint8(quantised["input_zero"]))
    for at, layer in enumerate(quantised["layers"]):
        weight = layer["weight"].numpy()
        out_scale = constant(f"scale{at}", np.float32(layer["scale_out"]))
        out_zero = constant(f"zero{at}", np.uint8(0))
        inputs = [
            values, scale, zero,
            constant(f"weight{at}", weight),
            constant(f"weight_scale{at}", layer["weight_scale"].numpy()),
            constant(f"weight_zero{at}", np.zeros(len(weight), np.int8)),
            out_scale, out_zero,
            constant(f"bias{at}", layer["bias"].numpy()),
        ]
        stride = layer["stride"]
        nodes.append(helper.make_node(
            "QLinearConv", inputs, [f"conv{at}"], name=f"conv{at}",
            kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride],
        ))
        values, scale, zero = f"conv{at}", out_scale, out_zero
    head_weight = constant("head_weight", (quantised["head"]["weight"] / temperature).numpy())
    head_bias = constant("head_bias", (quantised["head"]["bias"] / temperature).numpy())
    nodes += [
        helper.make_node("DequantizeLinear", [values, scale, zero], ["activations"], name="dequantise"),
        helper.make_node("GlobalAveragePool", ["activations"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["features"], name="flatten", axis=1),
        helper.make_node("Gemm", ["features", head_weight, head_bias], ["logits"], name="head", transB=1),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])
    made = helper.make_graph(nodes, "cifar10", [pixels], [logits], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def logits_of(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """ONNX Runtime's logits [N, 10] for uint8 images [N, 3, 32, 32]."""
    reference = session(model.SerializeToString())
    batches = [images[at : at + 250] for at in range(0, len(images), 250)]
    return np.concatenate([reference.run(None, {"pixels": batch})[0] for batch in batches])


def best_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The one with the least negative log-likelihood."""
    log_temperature = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100)

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(logits / log_temperature.exp(), labels)
        value.backward()
        return value

    optimizer.step(loss)
    return log_temperature.exp().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--work", type=Path, default=WORK, help="default: %(default)s")
    parser.add_argument("--cache", type=Path, help="of the data set")
    args = parser.parse_args()
    try:
        chosen = torch.load(args.work / "int8.pt", weights_only=True)
        final = torch.load(args.work / "final.pt", weights_only=True)
    except FileNotFoundError as error:
        sys.exit(f"export: {error.filename} is missing, run quantise.py and finish.py first")
    _, _, images, labels = split(args.cache)
    logits = torch.from_numpy(logits_of(graph(chosen, 1.0), images.numpy()))
    temperature = best_temperature(logits, labels)
    right = (logits.argmax(1) == labels).float().mean().item()
    print(f"held out {right:.4f}, temperature {temperature:.4f}")
    model = graph(final, temperature)
    stated = f"{temperature:.6f}"
    stamp(model, name=NAME, version=args.version, labels=CIFAR10, temperature=stated)
    onnx.save(model, args.target)
    print("wrote", args.target)


if __name__ == "__main__":
    main()
