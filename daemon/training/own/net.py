"""The network: plain 3x3 convolutions, the mean over what is left, one linear layer, sized by the input.

The same family as ../recipe/net.py, in JAX and with pixels last (NHWC), which is what its convolutions are
fast in. `normalised` is the float network with its batch normalisations, `rounded` the integer network.
"""
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Output channels from step to step, each half as wide and high as the one before.
WIDTHS = (16, 32, 48, 64, 96, 128)
# Halving ends where the longer side is at most so long, or where the shorter would become less than so.
LONGER_LEFT, SHORTER_LEFT = 12, 6
# Up to this side a step has a second convolution, which keeps the size.
SECOND_SIDE = 32
EPSILON = 1e-5
# Filters of the first convolution that may see how light it is; the others begin blind to it. Otherwise the
# light, which changes from picture to picture, drowns all else at the start, and some runs learn nothing.
LIGHT_FILTERS = 2
# Weight of the past in the running statistics of a normalisation.
PAST = 0.9


class Shape(NamedTuple):
    """What is fixed before training; (output channels, stride) of each convolution."""

    height: int
    width: int
    channels: int
    classes: int
    layers: tuple[tuple[int, int], ...]


def shape(height: int, width: int, channels: int, classes: int) -> Shape:
    layers, step, sides = [], 0, (height, width)
    while max(sides) > LONGER_LEFT and min(sides) >= 2 * SHORTER_LEFT:
        sides = (-(-sides[0] // 2), -(-sides[1] // 2))
        out = WIDTHS[min(step, len(WIDTHS) - 1)]
        layers.append((out, 2))
        if max(sides) <= SECOND_SIDE:
            layers.append((out, 1))
        step += 1
    out = WIDTHS[min(step, len(WIDTHS) - 1)]
    layers += [(out, 1), (out, 1)]
    return Shape(height, width, channels, classes, tuple(layers))


def macs(shape: Shape) -> int:
    """Multiply-accumulates for one picture."""
    height, width, channels, total = shape.height, shape.width, shape.channels, 0
    for out, stride in shape.layers:
        height, width = -(-height // stride), -(-width // stride)
        total += 9 * channels * out * height * width
        channels = out
    return total + channels * shape.classes


def build(shape: Shape, seed: int) -> tuple[dict, list]:
    """Returns the float network and its normalisations' running (mean, variance)."""
    rng = np.random.default_rng(seed)
    convs, moving, channels = [], [], shape.channels
    for out, _ in shape.layers:
        # He et al. 2015.
        weight = rng.normal(0, (2 / (9 * channels)) ** 0.5, (3, 3, channels, out))
        if not moving:
            weight[..., LIGHT_FILTERS:] -= weight[..., LIGHT_FILTERS:].mean((0, 1), keepdims=True)
        moving.append((jnp.zeros(out), jnp.ones(out)))
        convs.append({"weight": jnp.float32(weight), "gain": jnp.ones(out), "bias": jnp.zeros(out)})
        channels = out
    head = rng.normal(0, channels**-0.5, (shape.classes, channels))
    return {"convs": convs, "head": {"weight": jnp.float32(head), "bias": jnp.zeros(shape.classes)}}, moving


def convolved(values, weight, stride: int):
    return jax.lax.conv_general_dilated(
        values, weight, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def headed(head: dict, values):
    return values.mean((1, 2)) @ head["weight"].T + head["bias"]


def normalised(shape: Shape, net: dict, moving: list, values, learns: bool):
    """Logits [N, classes] and the new running statistics; `learns` takes the batch's own."""
    found = []
    for conv, (mean, variance), (_, stride) in zip(net["convs"], moving, shape.layers):
        values = convolved(values, conv["weight"], stride)
        if learns:
            own_mean, own_variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
            found.append((PAST * mean + (1 - PAST) * own_mean, PAST * variance + (1 - PAST) * own_variance))
            mean, variance = own_mean, own_variance
        gain = conv["gain"] * jax.lax.rsqrt(variance + EPSILON)
        values = jax.nn.relu((values - mean) * gain + conv["bias"])
    return headed(net["head"], values), found


def folded(net: dict, moving: list) -> dict:
    """The same network without normalisations: they are in its weights and biases."""
    convs = []
    for conv, (mean, variance) in zip(net["convs"], moving):
        gain = conv["gain"] / jnp.sqrt(variance + EPSILON)
        convs.append({"weight": conv["weight"] * gain, "bias": conv["bias"] - mean * gain})
    return {"convs": convs, "head": net["head"]}


def straight(values):
    """Half to even, with the gradient of the identity."""
    return values + jax.lax.stop_gradient(jnp.round(values) - values)


def weight_scale(weight):
    """[out], so that the largest weight of each channel is 127."""
    return jnp.maximum(jnp.abs(weight).max((0, 1, 2)), 1e-8) / 127


def rounded(shape: Shape, net: dict, scales: list, values):
    """Logits of a folded network in QLinearConv's own arithmetic; `values` are pixels less their zero point.

    All between two layers are whole numbers of 0 to 255. `scales[0]` is the pixels' scale, the others those
    of what each convolution gives.
    """
    for at, (conv, (_, stride)) in enumerate(zip(net["convs"], shape.layers)):
        of_weight = jax.lax.stop_gradient(weight_scale(conv["weight"]))
        of_sum = of_weight * scales[at]
        sums = convolved(values, straight(conv["weight"] / of_weight), stride)
        sums = sums + straight(conv["bias"] / of_sum)
        values = straight(jnp.clip(sums * (of_sum / scales[at + 1]), 0, 255))
    return headed(net["head"], values * scales[-1])
