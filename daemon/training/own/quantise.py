"""From the folded float network to integers: the first scales, and what QLinearConv takes."""
import jax
import jax.numpy as jnp
import numpy as np

from net import Shape, convolved, weight_scale

# Training pictures that the first scales of the activations are taken from.
CALIBRATION = 128
# Shares of the largest activation that are tried as the end of its range.
SHARES = np.linspace(0.3, 1.0, 36)
# Values of a layer that the shares are compared on.
SAMPLE = 200_000


def calibrated(shape: Shape, net: dict, pixel_scale: float, values, seed: int) -> list:
    """The pixels' scale, and for each layer the u8 scale with the least mean square error."""
    rng = np.random.default_rng(seed)
    scales, values = [jnp.float32(pixel_scale)], values[:CALIBRATION] * pixel_scale
    for conv, (_, stride) in zip(net["convs"], shape.layers):
        values = jax.nn.relu(convolved(values, conv["weight"], stride) + conv["bias"])
        some = rng.choice(np.asarray(values).ravel(), SAMPLE)
        tried = SHARES * max(float(values.max()), 1e-6) / 255
        errors = [np.square((some / scale).round().clip(0, 255) * scale - some).mean() for scale in tried]
        scales.append(jnp.float32(tried[np.argmin(errors)]))
    return scales


def integers(shape: Shape, net: dict, scales: list, pixel_zero: int) -> dict:
    """What qlinear.graph takes."""
    layers = []
    for at, (conv, (_, stride)) in enumerate(zip(net["convs"], shape.layers)):
        scale = np.asarray(weight_scale(conv["weight"]))
        weight = np.asarray(conv["weight"] / scale).round().clip(-127, 127)
        layers.append(
            {
                "weight": np.ascontiguousarray(weight.transpose(3, 2, 0, 1)).astype(np.int8),
                "weight_scale": scale,
                "bias": np.asarray(conv["bias"] / (scale * scales[at])).round().astype(np.int32),
                "scale_out": float(scales[at + 1]),
                "stride": stride,
            }
        )
    head = {key: np.asarray(value) for key, value in net["head"].items()}
    return {"input_scale": float(scales[0]), "input_zero": pixel_zero, "layers": layers, "head": head}
