"""Training: views of the pictures, the loss, the optimisers. Which network it is, its caller says."""
import sys
import time
from typing import Callable, Iterator, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BATCH = 32
LABEL_SMOOTHING = 0.05
# Share of all steps in which the rate rises; then it falls to zero along a cosine.
WARM_UP = 0.1
# Adam (Kingma and Ba 2015) with its decay apart (Loshchilov and Hutter 2019).
MOMENTUM, SQUARES, TINY, DECAY = 0.9, 0.99, 1e-8, 0.02
# Muon as in ../recipe/muon.py, and the coefficients of its iteration.
MUON_MOMENTUM, MUON_ITERATIONS, A, B, C = 0.6, 3, 3.4445, -4.7750, 2.0315
# Weight of the past in the running average of the weights, which is what is kept.
AVERAGE = 0.99

# Views: moved by up to this share of a side, contrast and brightness (of 255) changed by as much.
MOVED = 1 / 16
CONTRAST, BRIGHTNESS = 0.1, 10
# Which mirrors are as good as the picture itself: (rows, columns).
MIRRORS = {"none": (False, False), "across": (False, True), "both": (True, True)}


def views(images: np.ndarray, classes: np.ndarray, mirror: str, rng: np.random.Generator) -> Iterator:
    """Endlessly: uint8 [BATCH, ...] and their classes, each picture once an epoch, always seen otherwise."""
    count, height, width, _ = images.shape
    down, across = round(height * MOVED), round(width * MOVED)
    padded = np.pad(images, ((0, 0), (down, down), (across, across), (0, 0)), mode="edge")
    order = np.array([], int)
    while True:
        while len(order) < BATCH:
            order = np.concatenate([order, rng.permutation(count)])
        which, order = order[:BATCH], order[BATCH:]
        y, x = rng.integers(0, 2 * down + 1, (BATCH, 1)), rng.integers(0, 2 * across + 1, (BATCH, 1))
        rows, columns = y + np.arange(height), x + np.arange(width)
        for indices, mirrored in zip((rows, columns), MIRRORS[mirror]):
            if mirrored:
                turned = rng.random(BATCH) < 0.5
                indices[turned] = indices[turned, ::-1]
        seen = padded[which[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.float32)
        mean = seen.mean((1, 2, 3), keepdims=True)
        contrast = rng.uniform(1 - CONTRAST, 1 + CONTRAST, mean.shape)
        lit = (seen - mean) * contrast + mean + rng.uniform(-BRIGHTNESS, BRIGHTNESS, mean.shape)
        yield lit.round().clip(0, 255).astype(np.uint8), classes[which]


def loss(logits, classes, weights):
    """Cross-entropy, each class as important as the others however many pictures it has."""
    wanted = jax.nn.one_hot(classes, logits.shape[1])
    wanted = wanted * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / logits.shape[1]
    each = -(wanted * jax.nn.log_softmax(logits)).sum(1)
    return (each * weights[classes]).sum() / weights[classes].sum()


class Rates(NamedTuple):
    """Learning rates at their highest. `convs` is Muon's relative step for convolutions whose scale a
    normalisation takes away; without it Adam moves them as it does all else."""

    adam: float
    convs: float | None = None


def course(step, steps: int):
    """The share of the highest rate at this step."""
    rises = step / max(1, WARM_UP * steps)
    falls = 0.5 * (1 + jnp.cos(jnp.pi * step / steps))
    return jnp.minimum(rises, 1) * falls


def orthogonal(gradient):
    """The nearest matrix with singular values of about 1, of a convolution's gradient [3, 3, in, out]."""
    x = gradient.reshape(-1, gradient.shape[3])
    x = x / (jnp.linalg.norm(x) + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(MUON_ITERATIONS):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return (x.T if tall else x).reshape(gradient.shape)


def muon(weight, momentum, gradient, rate):
    """Returns the weight, whose norm it keeps, and the momentum."""
    momentum = MUON_MOMENTUM * momentum + gradient
    kept = weight * (weight.shape[3] ** 0.5 / jnp.linalg.norm(weight))
    return kept - rate * orthogonal(gradient + MUON_MOMENTUM * momentum), momentum


def adam(weight, momentum, squares, gradient, rate, at):
    """Returns the weight, the momentum and the squares; `at` counts from 0."""
    momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
    squares = SQUARES * squares + (1 - SQUARES) * gradient * gradient
    step = momentum / (1 - MOMENTUM ** (at + 1)) / (jnp.sqrt(squares / (1 - SQUARES ** (at + 1))) + TINY)
    decay = DECAY * weight if weight.ndim > 1 else 0
    return weight - rate * (step + decay), momentum, squares


def fit(
    judge: Callable, net, moving, batches: Iterator, epoch_steps: int, epochs: int, rates: Rates, what: str
):
    """Trains `net` and returns the running averages of it and of `moving`.

    `judge(net, moving, images, classes)` gives the loss and the new `moving`.
    """
    steps = epoch_steps * epochs
    leaves, structure = jax.tree.flatten(net)

    @jax.jit
    def step(state, at, images, classes):
        leaves, moving, memory, average = state
        whole = jax.tree.unflatten(structure, leaves)
        (lost, moving), gradient = jax.value_and_grad(judge, has_aux=True)(whole, moving, images, classes)
        share, new, memories = course(at, steps), [], []
        for weight, (momentum, squares), slope in zip(leaves, memory, jax.tree.leaves(gradient)):
            if rates.convs and weight.ndim == 4:
                weight, momentum = muon(weight, momentum, slope, share * rates.convs)
            else:
                weight, momentum, squares = adam(weight, momentum, squares, slope, share * rates.adam, at)
            new.append(weight)
            memories.append((momentum, squares))
        past = jnp.minimum(AVERAGE, (1 + at) / (10 + at))
        average = jax.tree.map(lambda a, w: past * a + (1 - past) * w, average, (new, moving))
        return (new, moving, memories, average), lost

    zeros = [(jnp.zeros_like(leaf), jnp.zeros_like(leaf)) for leaf in leaves]
    state = (leaves, moving, zeros, (leaves, moving))
    began = time.monotonic()
    for epoch in range(epochs):
        total = 0.0
        for at in range(epoch_steps):
            state, lost = step(state, jnp.float32(epoch * epoch_steps + at), *next(batches))
            total += float(lost)
        left = (time.monotonic() - began) / (epoch + 1) * (epochs - epoch - 1)
        done = f"{what}: epoch {epoch + 1}/{epochs}, loss {total / epoch_steps:.4f}"
        print(f"{done}, {left:.0f} s left", file=sys.stderr, flush=True)
    leaves, moving = state[-1]
    return jax.tree.unflatten(structure, leaves), moving
