#!/usr/bin/env python3
"""Measure the way from a camera's file to the size of a net: Picket beside OpenCV and Pillow, in turn.

    python3 decode.py --decode PATH [--rounds N] [--json FILE]

The pictures are made here: clouds of several scales, shapes and a sensor's noise, coded as cameras do,
with 1 to 2.5 bits a pixel. Every round runs each contender on each file, on one thread, so that noise of
the machine meets all of them; a time is the median of a round's runs, a ratio is taken within a round, and
the median of the rounds is printed. OpenCV decodes the whole picture and averages it by area. Pillow does
the same, for a JPEG once more with its draft mode, which decodes at a reduced size. Picket's is its whole
way, from the file's bytes to the picture that a net of that side takes.
"""
import argparse
import ctypes
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROUNDS = 7
# Runs of a contender in a round: as many as take about this long, within these bounds.
ROUND_SECS = 0.15
RUNS_MIN, RUNS_MAX = 3, 200
RUN_TIMEOUT_SECS = 120

SIZES = [(640, 480), (1920, 1080), (4000, 3000)]
SIDES = [32, 96, 224]
QUALITY = 85

# glibc's mallopt: the size from which memory is mapped, and that from which it is given back.
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, HEAP_BYTES = -3, -1, 1 << 30


def keep_memory() -> None:
    """Keeps freed buffers in the heap: to map them anew costs OpenCV more than some pictures' decoding."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, HEAP_BYTES)
    libc.mallopt(M_TRIM_THRESHOLD, HEAP_BYTES)


def scene(width: int, height: int) -> np.ndarray:
    """A picture whose JPEG takes about as many bits as one of a camera."""
    random = np.random.default_rng(7)
    picture = np.full((height, width, 3), 110.0)
    for scale, amplitude in ((width / 6, 60), (width / 20, 30), (width / 60, 14), (3, 5)):
        step = max(1, int(scale / 4))
        noise = random.normal(0, amplitude, (height // step + 2, width // step + 2, 3))
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(40):
        colour = [int(value) for value in random.integers(0, 256, 3)]
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        radius = int(random.integers(width // 100 + 2, width // 12))
        if random.random() < 0.5:
            cv2.circle(picture, (x, y), radius, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, (x, y), (x + radius, y + radius // 2), colour, -1)
    picture += random.normal(0, 2, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def files(folder: Path) -> list[tuple[str, tuple[int, int], Path]]:
    made = []
    for width, height in SIZES:
        picture = scene(width, height)
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
        for name, extension, options in (
            ("JPEG 4:2:0", "420.jpg", [cv2.IMWRITE_JPEG_QUALITY, QUALITY, sampling, 0x221111]),
            ("JPEG 4:2:2", "422.jpg", [cv2.IMWRITE_JPEG_QUALITY, QUALITY, sampling, 0x211111]),
            ("PNG", "png", []),
        ):
            path = folder / f"{width}.{extension}"
            cv2.imwrite(str(path), picture, options)
            made.append((name, (width, height), path))
    return made


def timed(run: Callable[[], object]) -> float:
    """The median of a round's runs, in microseconds."""
    times: list[float] = []
    while len(times) < RUNS_MIN or (sum(times) < ROUND_SECS and len(times) < RUNS_MAX):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def opencv(body: np.ndarray, side: int) -> Callable[[], object]:
    return lambda: cv2.resize(cv2.imdecode(body, cv2.IMREAD_COLOR), (side, side),
                              interpolation=cv2.INTER_AREA)


def pillow(body: bytes, side: int, draft: bool) -> Callable[[], object]:
    def run() -> object:
        image = Image.open(io.BytesIO(body))
        if draft:
            image.draft("RGB", (side, side))
        return image.convert("RGB").resize((side, side), Image.Resampling.BOX)
    return run


def picket(program: Path, path: Path, how: str, about: float) -> Callable[[], float]:
    """Picket's median in microseconds, of about as many runs as the others'."""
    runs = int(min(max(ROUND_SECS * 1e6 / about, RUNS_MIN), RUNS_MAX))
    command = [program, path, how, str(runs)]

    def run() -> float:
        result = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_SECS)
        if result.returncode != 0:
            sys.exit(f"bench: {program} {path}: {result.stderr.strip()}")
        return float(result.stdout)
    return run


def measure(program: Path, row: dict, rounds: int) -> dict:
    path, side = row["path"], row["side"]
    body = path.read_bytes()
    is_jpeg = path.suffix == ".jpg"
    plain = opencv(np.frombuffer(body, np.uint8), side)
    about = timed(plain)
    contenders: dict[str, Callable[[], float]] = {
        "OpenCV": lambda: timed(plain),
        "Pillow": lambda: timed(pillow(body, side, False)),
    }
    if is_jpeg:
        contenders["Pillow draft"] = lambda: timed(pillow(body, side, True))
    contenders["Picket"] = picket(program, path, f"to={side}", about)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(run())
    medians = {name: statistics.median(found) for name, found in times.items()}
    ratios = {name: statistics.median(a / b for a, b in zip(found, times["OpenCV"]))
              for name, found in times.items()}
    return {"micros": medians, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decode", type=Path, required=True, help="the crate's example `decode`")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    keep_memory()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, size, path in files(Path(folder)):
            bits = path.stat().st_size * 8 / (size[0] * size[1])
            for side in SIDES:
                row = {"format": name, "size": size, "path": path, "side": side}
                found = measure(arguments.decode, row, arguments.rounds)
                cells = [f"{contender} {found['micros'][contender]:,.0f} us ({ratio:.2f})"
                         for contender, ratio in found["ratios"].items()]
                print(f"{name} {size[0]}x{size[1]}, {bits:.1f} bits a pixel, to {side}x{side}: "
                      + ", ".join(cells), flush=True)
                results.append({**row, "path": path.name, "bits": bits, **found})
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
