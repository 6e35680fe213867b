"""The model's card: how good it is on pictures that it never saw, and how it was made. Markdown."""
from typing import NamedTuple

import numpy as np

from measure import BINS, calibration_error, confusion, likelihood, softmax
from pictures import HELD_OUT_SHARE, Pictures

# Classes up to which the whole confusion matrix is a table; of more, each class's commonest mistake.
TABLE_CLASSES_MAX = 16


class Result(NamedTuple):
    """`logits` are those of the exported file for the held-out pictures, the temperature in them."""

    float_right: float
    logits: np.ndarray
    temperature: float
    disagree: int
    macs: int
    parameters: int
    file_bytes: int
    digest: str


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def card(
    title: str, learnt: Pictures, held: Pictures, result: Result, defects: list[str], made: str
) -> str:
    probabilities, classes = softmax(result.logits), held.classes
    said = probabilities.argmax(1)
    before = softmax(result.logits * result.temperature)
    height, width, channels = held.images.shape[1:]
    lines = [
        f"# {title}",
        "",
        f"Tells {len(held.labels)} classes apart on pictures of {width}x{height} pixels and"
        f" {channels} channel{'s' if channels > 1 else ''}. Everything below was measured on {len(classes)}"
        " pictures that were held out of training; the exported file was run by ONNX Runtime.",
        "",
        "| | |",
        "|---|---|",
        f"| right, float network | {percent(result.float_right)} |",
        f"| right, int8 file | **{percent((said == classes).mean())}** |",
        f"| work | {result.macs / 1e6:.1f} million multiply-accumulates a picture |",
        f"| parameters | {result.parameters:,} |",
        f"| file | {result.file_bytes:,} bytes, SHA-256 `{result.digest}` |",
        f"| temperature | {result.temperature:.3f}, in the last layer; found on the held-out pictures |",
        f"| expected calibration error, {BINS} bins | {percent(calibration_error(before, classes))} before,"
        f" {percent(calibration_error(probabilities, classes))} with it |",
        f"| negative log-likelihood | {likelihood(before, classes):.4f} before,"
        f" {likelihood(probabilities, classes):.4f} with it |",
        f"| ONNX Runtime against the training's own integers | {result.disagree} of {len(classes)}"
        " pictures get another class |",
        "",
        *verdicts(held, said, defects),
        *matrix(held, said),
        "",
        "| confidence | pictures | right |",
        "|---|---|---|",
        *confidences(probabilities.max(1), said == classes),
        "",
        "## How it was made",
        "",
        made,
        "",
        "| class | learnt from | held out |",
        "|---|---|---|",
    ]
    for label, learns, judges in zip(held.labels, learnt.counts(), held.counts()):
        lines.append(f"| {cell(label)} | {learns} | {judges} |")
    lines += [
        "",
        f"{percent(HELD_OUT_SHARE)} of each class were held out, chosen by a seeded shuffle. Pictures that show"
        " the same scene a moment later are not independent of each other: held apart at random they make the"
        " figures too good. Every class counts the same in the loss, so confidences are those of classes that"
        " come equally often.",
        "",
        f"Left out of the folder: {len(learnt.left_out)} files.",
        *(f"- `{left}`" for left in learnt.left_out),
        "",
    ]
    return "\n".join(lines)


def cell(label: str) -> str:
    return label.replace("|", "\\|")


def verdicts(held: Pictures, said: np.ndarray, defects: list[str]) -> list[str]:
    if not defects:
        return []
    of_defect = np.array([label in defects for label in held.labels])
    is_defect, called = of_defect[held.classes], of_defect[said]
    missed, alarms = int((is_defect & ~called).sum()), int((~is_defect & called).sum())
    return [
        f"Of {is_defect.sum()} defects {missed} were missed; of {(~is_defect).sum()} pictures without one"
        f" {alarms} were called a defect.",
        "",
    ]


def matrix(held: Pictures, said: np.ndarray) -> list[str]:
    counts = confusion(held.classes, said, len(held.labels))
    labels = [cell(label) for label in held.labels]
    if len(labels) <= TABLE_CLASSES_MAX:
        lines = [f"| is \\ called | {' | '.join(labels)} |", "|---|" + "---|" * len(labels)]
        for label, row in zip(labels, counts):
            lines.append(f"| {label} | {' | '.join(map(str, row))} |")
        return [*lines, "", "![confusion matrix](confusion.svg)"]
    lines = ["| class | right | most often taken for |", "|---|---|---|"]
    for at, label in enumerate(labels):
        wrong = counts[at].copy()
        wrong[at] = 0
        other = int(wrong.argmax())
        share = percent(counts[at, at] / counts[at].sum())
        lines.append(f"| {label} | {share} | {labels[other]} ({wrong[other]}) |")
    return lines


def confidences(confidence: np.ndarray, right: np.ndarray) -> list[str]:
    lines = []
    for low, high in ((0, 0.4), (0.4, 0.7), (0.7, 0.9), (0.9, 0.99), (0.99, 1.01)):
        of = (confidence >= low) & (confidence < high)
        if of.any():
            lines.append(f"| {low:g} to {min(high, 1):g} | {of.sum()} | {percent(right[of].mean())} |")
    return lines
