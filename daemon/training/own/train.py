#!/usr/bin/env python3
"""Train an int8 classifier on a folder of pictures and write it as a bundle that Picket serves.

    python3 train.py DIR [options]

DIR has a folder for each class, named as the label, with its pictures in it. A fifth of each class is held
out and judges the result. See docs/your-own-model.md.
"""
import argparse
import hashlib
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import qlinear  # noqa: E402
import reference  # noqa: E402
from measure import best_temperature, confusion, picture  # noqa: E402
from stamp import stamp  # noqa: E402

import bundle
import card
import fit
import net as nets
import quantise
from pictures import MODES, Pictures, Refused, read, split

SEED = 20_261_127
EPOCHS = 20
RATES = fit.Rates(adam=4e-3, convs=0.1)
# The integers are trained on for this share of the epochs, more gently.
INTEGER_SHARE, INTEGER_RATES = 0.2, fit.Rates(adam=4e-4)
# Largest mean difference of a logit between the training's integers and ONNX Runtime on the file: both
# round the same sums, which single precision holds to some units.
APART_MAX = 0.001

# As the daemon ends for wrong input (EX_DATAERR).
DATA_ERROR = 65
SIDES = range(8, 1025)


def planar(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def planar_size(shape: nets.Shape) -> tuple[int, int, int]:
    return shape.channels, shape.height, shape.width


def run(forward, images: np.ndarray) -> np.ndarray:
    """Logits of a jitted network for uint8 images, in batches of one size."""
    found = []
    for at in range(0, len(images), fit.BATCH):
        batch = images[at : at + fit.BATCH]
        filled = np.concatenate([batch, np.zeros((fit.BATCH - len(batch), *batch.shape[1:]), np.uint8)])
        found.append(np.asarray(forward(filled))[: len(batch)])
    return np.concatenate(found)


def right(logits: np.ndarray, held: Pictures) -> float:
    return float((logits.argmax(1) == held.classes).mean())


class Training:
    """One run on one set of pictures: float, then integers."""

    def __init__(self, learnt: Pictures, mirror: str, epochs: int):
        height, width, channels = learnt.images.shape[1:]
        self.shape = nets.shape(height, width, channels, len(learnt.labels))
        self.learnt, self.epochs = learnt, epochs
        # A pixel p enters as (p - zero) * scale: about mean 0 and deviation 1.
        self.zero = int(learnt.images.mean().round().clip(0, 255))
        self.scale = 1 / max(1.0, float(learnt.images.std().round()))
        counts = learnt.counts()
        self.weights = jnp.float32(counts.sum() / (len(counts) * counts))
        self.batches = fit.views(learnt.images, learnt.classes, mirror, np.random.default_rng(SEED))
        self.epoch_steps = max(1, round(len(learnt.classes) / fit.BATCH))

    def centred(self, images):
        return images.astype(jnp.float32) - self.zero

    def float_forward(self, net: dict, moving: list):
        values = lambda images: self.centred(images) * self.scale  # noqa: E731
        return jax.jit(lambda images: nets.normalised(self.shape, net, moving, values(images), False)[0])

    def whole_forward(self, net: dict, scales: list):
        return jax.jit(lambda images: nets.rounded(self.shape, net, scales, self.centred(images)))

    def floats(self) -> tuple[dict, list]:
        """The float network and its running statistics."""

        def judge(net, moving, images, classes):
            values = self.centred(images) * self.scale
            logits, moving = nets.normalised(self.shape, net, moving, values, True)
            return fit.loss(logits, classes, self.weights), moving

        net, moving = nets.build(self.shape, SEED)
        return fit.fit(judge, net, moving, self.batches, self.epoch_steps, self.epochs, RATES, "float")

    def whole(self, net: dict) -> tuple[dict, list]:
        """The integer network, trained on from the folded float one, and its scales."""
        rng = np.random.default_rng(SEED)
        some = self.learnt.images[rng.permutation(len(self.learnt.images))[: quantise.CALIBRATION]]
        scales = quantise.calibrated(self.shape, net, self.scale, self.centred(some), SEED)

        def judge(net, scales, images, classes):
            logits = nets.rounded(self.shape, net, scales, self.centred(images))
            return fit.loss(logits, classes, self.weights), scales

        epochs = max(1, round(self.epochs * INTEGER_SHARE))
        net, _ = fit.fit(judge, net, scales, self.batches, self.epoch_steps, epochs, INTEGER_RATES, "int8")
        return net, scales


def train(args: argparse.Namespace) -> None:
    began = time.monotonic()
    pictures = read(args.folder, tuple(args.size), args.colour)
    unknown = [label for label in args.defect if label not in pictures.labels]
    if unknown:
        raise Refused(f"--defect {unknown[0]} is none of the folders {', '.join(pictures.labels)}")
    for left in pictures.left_out:
        say(f"left out: {left}")
    learnt, held = split(pictures, SEED)
    training = Training(learnt, args.mirror, args.epochs)
    each = ", ".join(f"{label} {count}" for label, count in zip(pictures.labels, pictures.counts()))
    macs = f"{nets.macs(training.shape) / 1e6:.1f} MMAC"
    say(f"{len(pictures.classes)} pictures ({each}), {len(held.classes)} of them held out; {macs}")

    net, moving = training.floats()
    float_right = right(run(training.float_forward(net, moving), held.images), held)
    say(f"float: {card.percent(float_right)} of the held-out pictures right")
    net, scales = training.whole(nets.folded(net, moving))
    simulated = run(training.whole_forward(net, scales), held.images)
    quantised = quantise.integers(training.shape, net, scales, training.zero)
    temperature = calibrated(quantised, training.shape, simulated, held)
    file = written(args, quantised, training.shape, temperature, held)

    logits = reference.logits_of(file, planar(held.images))
    result = card.Result(
        float_right,
        logits,
        temperature,
        int((logits.argmax(1) != simulated.argmax(1)).sum()),
        nets.macs(training.shape),
        sum(layer["weight"].size + layer["bias"].size for layer in [*quantised["layers"], quantised["head"]]),
        len(file),
        hashlib.sha256(file).hexdigest(),
    )
    took = time.monotonic() - began
    report(args, learnt, held, result, took)
    say(f"int8: {card.percent(right(logits, held))} of the held-out pictures right, {took:.0f} s in all")
    print("wrote", args.out)


def calibrated(quantised: dict, shape: nets.Shape, simulated: np.ndarray, held: Pictures) -> float:
    """The temperature, once ONNX Runtime has given the training's own logits for the exported integers."""
    once = qlinear.graph(quantised, 1.0, planar_size(shape), "check").SerializeToString()
    logits = reference.logits_of(once, planar(held.images))
    apart = float(np.abs(logits - simulated).mean())
    if apart > APART_MAX:
        off = f"{apart:.4f} off the training's, at most {APART_MAX} is right"
        sys.exit(f"train: ONNX Runtime's logits are {off}")
    say(f"ONNX Runtime gives the training's own logits, within {np.abs(logits - simulated).max():.5f}")
    # As Platt 1999 has it: so many pictures can't say that the next one is surer than this.
    return best_temperature(logits, held.classes, 1 / (len(held.classes) + 2))


def written(
    args: argparse.Namespace, quantised: dict, shape: nets.Shape, temperature: float, held: Pictures
) -> bytes:
    """Writes the bundle but for its card; the ONNX file."""
    model = qlinear.graph(quantised, temperature, planar_size(shape), args.name)
    stamp(model)
    file = model.SerializeToString()
    named = bundle.Named(args.name, args.version, int(time.time()), args.colour, args.defect)
    bundle.write(args.out, file, lambda images: reference.logits_of(file, planar(images)), held, named)
    return file


def report(
    args: argparse.Namespace, learnt: Pictures, held: Pictures, result: card.Result, took: float
) -> None:
    made = (
        f"`./dev train` with {args.epochs} epochs as floats and then as integers, on pictures stretched to"
        f" {args.size[1]}x{args.size[0]} by Pillow's bilinear filter; mirrors: {args.mirror}; {took:.0f} s,"
        f" JAX {jax.__version__}."
    )
    text = card.card(f"{args.name} {args.version}", learnt, held, result, args.defect, made)
    (args.out / "card.md").write_text(text)
    counts = confusion(held.classes, result.logits.argmax(1), len(held.labels))
    (args.out / "confusion.svg").write_text(picture(counts, held.labels))


def say(text: str) -> None:
    print(f"train: {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev train", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder for each class, with its pictures")
    parser.add_argument("--out", type=Path, help="default: .cache/train/NAME")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[96], metavar="N",
        help="height and width, or one side of a square; default: 96",
    )
    parser.add_argument("--colour", choices=MODES, default="grey", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default: %(default)s")
    parser.add_argument(
        "--mirror", choices=fit.MIRRORS, default="across",
        help="which mirror images show the same; default: %(default)s",
    )
    parser.add_argument("--name", help="default: DIR's own")
    parser.add_argument("--version", default="1")
    parser.add_argument(
        "--defect", action="append", default=[], metavar="LABEL",
        help="a class that is a defect; may be given several times",
    )
    args = parser.parse_args()
    args.name = args.name or args.folder.resolve().name
    args.out = args.out or Path(__file__).resolve().parents[3] / ".cache" / "train" / args.name
    args.size = args.size * 2 if len(args.size) == 1 else args.size
    if len(args.size) != 2 or not all(side in SIDES for side in args.size):
        parser.error(f"--size {args.size}: two sides of {SIDES.start} to {SIDES.stop - 1} are possible")
    if args.epochs < 1:
        parser.error(f"--epochs {args.epochs}: at least 1 is needed")
    if not args.folder.is_dir():
        parser.error(f"{args.folder} is no folder")
    return args


def main() -> None:
    args = arguments()
    try:
        train(args)
    except Refused as refused:
        print(f"train: {refused}", file=sys.stderr)
        sys.exit(DATA_ERROR)


if __name__ == "__main__":
    main()
