#!/usr/bin/env python3
"""Compare the classes of large JPEGs with scaled decoding and without it.

    python3 agreement.py --picket PATH [--images N] [--side 640x480] [--cache DIR]

Blows CIFAR-10's test images up, writes them as JPEG of quality 90, and has `picket predict` classify them
twice: as shipped, and with `exact = true` in the model's [resize]. Exit code 1 when more than one in a
thousand changes its class.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from cifar10 import CACHE, fetch

MODEL = Path(__file__).resolve().parents[1] / "crates/classifier/embedded/cifar10-int8.onnx"
QUALITY = 90
DISAGREE_MAX = 1e-3
# Files that one `picket predict` classifies: few enough for a command line.
BATCH_IMAGES = 500
BUNDLE = "[resize]\nexact = true\n"


def classes(picket: Path, files: list[Path], model: list[str]) -> list[int]:
    """The class of each file, by one run of the program."""
    command = [str(picket), "predict", "--json", *model, *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line)["class"] for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picket", type=Path, required=True)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", default="640x480", help="width x height, default: %(default)s")
    parser.add_argument("--cache", type=Path, default=CACHE)
    args = parser.parse_args()
    size = tuple(int(side) for side in args.side.split("x"))
    images = fetch(args.cache).x_test[: args.images]
    changed = 0
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "exact"
        bundle.mkdir()
        (bundle / "model.onnx").write_bytes(MODEL.read_bytes())
        (bundle / "model.toml").write_text(BUNDLE)
        for start in range(0, len(images), BATCH_IMAGES):
            files = []
            for at, image in enumerate(images[start : start + BATCH_IMAGES]):
                files.append(Path(folder) / f"{at}.jpg")
                large = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
                large.save(files[-1], quality=QUALITY)
            scaled = classes(args.picket, files, [])
            exact = classes(args.picket, files, ["--model-path", str(bundle)])
            changed += sum(one != other for one, other in zip(scaled, exact, strict=True))
    share = 1 - changed / len(images)
    print(f"{args.side}: the same class for {len(images) - changed} of {len(images)}, {share:.4%}")
    sys.exit(changed > DISAGREE_MAX * len(images))


if __name__ == "__main__":
    main()
