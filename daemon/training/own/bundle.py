"""What is written: model.onnx, model.toml, golden pictures. docs/your-own-model.md explains the keys."""
import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pictures import Pictures

# Golden pictures: of each class at most so many, and in all; each is decoded and run when Picket starts.
GOLDENS_A_CLASS, GOLDENS_MAX = 2, 16
GOLDEN_BYTES_MAX = 2 << 20
# The tolerance is what it does to the logits when this share of the pixels is one step off, as where a JPEG
# decoder rounds otherwise, times the margin. Another filter or a crop does more.
OFF_BY_ONE, MARGIN, TRIES = 0.005, 2, 8
TOLERANCE_MIN = 0.01


class Named(NamedTuple):
    """What the options say about the model."""

    name: str
    version: str
    counter: int
    colour: str
    defects: list[str]


class Golden(NamedTuple):
    file: str
    logits: np.ndarray


def write(out: Path, model: bytes, logits_of, held: Pictures, named: Named) -> None:
    """Writes the bundle's files; `logits_of` gives ONNX Runtime's logits for images [N, H, W, C]."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(model)
    chosen = chosen_goldens(held)
    if not chosen:
        raise SystemExit(f"train: no held-out picture is within {GOLDEN_BYTES_MAX} bytes, for a golden one")
    logits = logits_of(held.images[chosen])
    near = tolerance(logits_of, held.images[chosen], logits)
    folder = out / "golden"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    goldens = []
    for number, (at, answer) in enumerate(zip(chosen, logits)):
        path = held.paths[at]
        label = re.sub("[^A-Za-z0-9]+", "-", held.labels[held.classes[at]])
        file = f"golden/{number:02}-{label}{path.suffix.lower()}"
        (out / file).write_bytes(path.read_bytes())
        goldens.append(Golden(file, answer))
    text = toml(out, held, named, goldens, near)
    # What is written can be read, and says what was meant.
    assert tomllib.loads(text)["output"]["labels"] == list(held.labels)
    (out / "model.toml").write_text(text)


def chosen_goldens(held: Pictures) -> list[int]:
    """The first small ones of each class, the classes in turn."""
    found = []
    small = [path.stat().st_size <= GOLDEN_BYTES_MAX for path in held.paths]
    of_class = [np.flatnonzero((held.classes == at) & small) for at in range(len(held.labels))]
    for turn in range(GOLDENS_A_CLASS):
        found += [int(of[turn]) for of in of_class if turn < len(of)]
    return sorted(found[:GOLDENS_MAX])


def tolerance(logits_of, images: np.ndarray, logits: np.ndarray) -> float:
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(TRIES):
        steps = rng.choice([-1, 1], images.shape) * (rng.random(images.shape) < OFF_BY_ONE)
        moved = (images.astype(np.int16) + steps).clip(0, 255).astype(np.uint8)
        worst = max(worst, float(np.abs(logits_of(moved) - logits).max()))
    return max(TOLERANCE_MIN, round(MARGIN * worst, 3))


def toml(out: Path, held: Pictures, named: Named, goldens: list[Golden], near: float) -> str:
    height, width = held.images.shape[1:3]
    quoted = lambda text: json.dumps(text, ensure_ascii=False)  # noqa: E731
    lines = [
        "[model]",
        f"name = {quoted(named.name)}",
        f"version = {quoted(named.version)}",
        f"counter = {named.counter}",
        "",
        "[input]",
        f"size = [{height}, {width}]",
        f'colour = "{named.colour}"',
        'layout = "nchw"',
        "",
        "# As the pictures were prepared for training, with Pillow. Without `exact` large JPEGs are decoded",
        "# at a fraction of their size, which is faster and a little different.",
        "[resize]",
        'mode = "stretch"',
        'filter = "bilinear"',
        "antialias = true",
        "exact = true",
        "",
        "# The temperature is in the last layer.",
        "[output]",
        'kind = "logits"',
        f"labels = [{', '.join(map(quoted, held.labels))}]",
    ]
    if named.defects:
        lines += ["", "[verdict]", f"defect_labels = [{', '.join(map(quoted, named.defects))}]"]
    for golden in goldens:
        logits = ", ".join(f"{logit:.5f}" for logit in golden.logits)
        lines += ["", "[[golden]]", f"image = {quoted(golden.file)}", f"logits = [{logits}]"]
        lines.append(f"tolerance = {near}")
    lines += ["", "[files]"]
    for file in ["model.onnx", *(golden.file for golden in goldens)]:
        digest = hashlib.sha256((out / file).read_bytes()).hexdigest()
        lines.append(f'{quoted(file)} = "{digest}"')
    return "\n".join([*lines, ""])
