#!/usr/bin/env python3
"""Measure a finished model on the CIFAR-10 test set and write what the model card shows of it.

    python3 report.py MODEL.onnx [--card docs/model.md] [--picture docs/confusion.svg]

Everything comes from one pass of ONNX Runtime over the 10,000 test images, and over pictures that are
none of the ten classes. The tables replace what stands between the card's two marks.
"""
import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from cifar10 import LABELS, fetch  # noqa: E402
from measure import BINS, calibration_error, confusion, likelihood, picture, softmax  # noqa: E402
from reference import session  # noqa: E402

HERE = Path(__file__).resolve()
DOCS = HERE.parents[3] / "docs"
SEED = 20_261_125
BEGIN, END = "<!-- measured: report.py -->", "<!-- end -->"
STRANGERS = 1_000


def run(reference, images: np.ndarray) -> np.ndarray:
    """uint8 [N, 32, 32, 3] to logits [N, 10]."""
    (entry,) = reference.get_inputs()
    planar = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    batches = [planar[at : at + 250] for at in range(0, len(planar), 250)]
    return np.concatenate([reference.run(None, {entry.name: batch})[0] for batch in batches])


def strangers(x_test: np.ndarray) -> dict[str, np.ndarray]:
    """Pictures that show none of the ten classes, or nothing at all."""
    rng = np.random.default_rng(SEED)
    some = x_test[rng.permutation(len(x_test))[:STRANGERS]]
    colours = rng.integers(0, 256, (STRANGERS, 1, 1, 3), dtype=np.uint8)
    shuffled = some.reshape(STRANGERS, 1024, 3).copy()
    for picture in shuffled:
        rng.shuffle(picture)
    return {
        "one colour": np.broadcast_to(colours, (STRANGERS, 32, 32, 3)).copy(),
        "noise, uniform": rng.integers(0, 256, (STRANGERS, 32, 32, 3), dtype=np.uint8),
        "test images, pixels shuffled": shuffled.reshape(STRANGERS, 32, 32, 3),
        "test images, inverted": 255 - some,
        "test images, upside down": some[:, ::-1].copy(),
    }


def tables(path: Path, temperature: float, x_test: np.ndarray, y_test: np.ndarray) -> tuple[str, str]:
    """The card's block, and the picture."""
    model = path.read_bytes()
    reference = session(model)
    logits = run(reference, x_test)
    probabilities = softmax(logits)
    said = probabilities.argmax(1)
    right = said == y_test
    counts = confusion(y_test, said, len(LABELS))

    parameters = sum(
        int(np.prod(constant.dims))
        for constant in onnx.load_from_string(model).graph.initializer
        if constant.name.startswith(("weight", "bias", "head_")) and "_scale" not in constant.name
        and "_zero" not in constant.name
    )
    before = calibration_error(softmax(logits * temperature), y_test)
    after = calibration_error(probabilities, y_test)
    lines = [
        "| | |",
        "|---|---|",
        f"| top-1, 10,000 test images | **{100 * right.mean():.2f} %** |",
        f"| parameters | {parameters:,} |",
        f"| file | {len(model):,} bytes, SHA-256 `{hashlib.sha256(model).hexdigest()}` |",
        f"| temperature | {temperature:.4f}, in the last layer |",
        f"| expected calibration error, {BINS} bins | {100 * before:.2f} % before, {100 * after:.2f} % with it |",
        f"| negative log-likelihood | {likelihood(softmax(logits * temperature), y_test):.4f} before,"
        f" {likelihood(probabilities, y_test):.4f} with it |",
        "",
        "| class | right | most often taken for |",
        "|---|---|---|",
    ]
    for at, label in enumerate(LABELS):
        wrong = counts[at].copy()
        wrong[at] = 0
        other = int(wrong.argmax())
        share = 100 * counts[at, at] / counts[at].sum()
        lines.append(f"| {label} | {share:.1f} % | {LABELS[other]} ({wrong[other]}) |")
    lines += [
        "",
        "| confidence | images | right |",
        "|---|---|---|",
    ]
    confidence = probabilities.max(1)
    for low, high in ((0, 0.4), (0.4, 0.7), (0.7, 0.9), (0.9, 0.99), (0.99, 1.01)):
        of = (confidence >= low) & (confidence < high)
        if of.any():
            lines.append(
                f"| {low:g} to {min(high, 1):g} | {of.sum():,} | {100 * right[of].mean():.1f} % |"
            )
    lines += [
        "",
        f"| not of the ten classes, {STRANGERS:,} each | mean confidence | 0.9 and more | most often |",
        "|---|---|---|---|",
    ]
    for name, images in strangers(x_test).items():
        found = softmax(run(reference, images))
        sure = found.max(1)
        most = np.bincount(found.argmax(1), minlength=len(LABELS))
        label = LABELS[int(most.argmax())]
        lines.append(
            f"| {name} | {sure.mean():.2f} | {100 * (sure >= 0.9).mean():.0f} % |"
            f" {label}, {100 * most.max() / STRANGERS:.0f} % |"
        )
    return "\n".join(lines), picture(counts, LABELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--card", type=Path, default=DOCS / "model.md", help="default: %(default)s")
    parser.add_argument("--picture", type=Path, default=DOCS / "confusion.svg")
    parser.add_argument("--cache", type=Path, help="of the data set")
    args = parser.parse_args()
    properties = {p.key: p.value for p in onnx.load(args.model).metadata_props}
    data = fetch(args.cache) if args.cache else fetch()
    block, drawn = tables(args.model, float(properties["temperature"]), data.x_test, data.y_test)
    card = args.card.read_text()
    if card.count(BEGIN) != 1 or card.count(END) != 1:
        sys.exit(f"report: {args.card} does not have the marks {BEGIN} and {END} once each")
    before, rest = card.split(BEGIN)
    args.card.write_text(f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}")
    args.picture.write_text(drawn)
    print(block)
    print(json.dumps({"card": str(args.card), "picture": str(args.picture)}))


if __name__ == "__main__":
    main()
