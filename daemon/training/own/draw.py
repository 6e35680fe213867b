#!/usr/bin/env python3
"""Draw a set of pictures to try `./dev train` on: a brushed surface, with a defect or without.

    python3 draw.py DIR [--each N] [--seed N]

DIR/ok and DIR/defect get N pictures each, grey, 160x120, as PNG. Every one has its own lighting, grain and
noise. A defect is a scratch, a dent or a stain; some are hardly stronger than the grain, so that no
classifier gets all of them.
"""
import argparse
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 160, 120
EACH = 400
SEED = 20_261_127

Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)


def surface(rng: np.random.Generator) -> np.ndarray:
    """Grey values [HEIGHT, WIDTH] of a surface that is brushed along its width, lit from somewhere."""
    level, slope = rng.uniform(80, 170), rng.uniform(-35, 35, 2)
    light = level + slope[0] * (X / WIDTH - 0.5) + slope[1] * (Y / HEIGHT - 0.5)
    shine = rng.uniform(0, 30) * bump(rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), 60, 40, 0)
    # Grain: noise that is smeared along the brush's way.
    grain = rng.normal(0, 1, (HEIGHT, WIDTH))
    for reach in (1, 2, 4, 8):
        grain = grain + np.roll(grain, reach, axis=1)
    return light + shine + rng.uniform(2, 6) * grain / grain.std()


def bump(x: float, y: float, wide: float, high: float, angle: float) -> np.ndarray:
    """A smooth hill of height 1 at (x, y), turned by `angle`."""
    across = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle)
    along = (Y - y) * np.cos(angle) - (X - x) * np.sin(angle)
    return np.exp(-0.5 * ((across / wide) ** 2 + (along / high) ** 2))


def defect(rng: np.random.Generator) -> np.ndarray:
    """What a scratch, a dent or a stain adds to the grey values."""
    x, y, angle = rng.uniform(20, WIDTH - 20), rng.uniform(20, HEIGHT - 20), rng.uniform(0, np.pi)
    strength = rng.choice([-1, 1]) * rng.uniform(5, 50)
    kind = rng.integers(3)
    if kind == 0:
        return 1.5 * strength * bump(x, y, rng.uniform(8, 25), rng.uniform(0.7, 1.5), angle)
    if kind == 1:
        size = rng.uniform(3, 7)
        shift = size * np.array([np.cos(angle), np.sin(angle)])
        lit, dark = bump(x + shift[0], y + shift[1], size, size, 0), bump(x, y, size, size, 0)
        return strength * (lit - dark)
    apart = rng.uniform((-6, -6, 3), (6, 6, 7), (4, 3))
    blots = [bump(x + dx, y + dy, size, size, 0) for dx, dy, size in apart]
    return -0.8 * abs(strength) * np.clip(sum(blots), 0, 1)


def picture(rng: np.random.Generator, is_defect: bool) -> Image.Image:
    values = surface(rng)
    if is_defect:
        values = values + defect(rng)
    values = values + rng.normal(0, rng.uniform(1, 4), values.shape)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8), "L")


def draw(folder: Path, each: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for label in ("ok", "defect"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for at in range(each):
            picture(rng, label == "defect").save(folder / label / f"{at:04}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=EACH, help="pictures a class, default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    args = parser.parse_args()
    draw(args.folder, args.each, args.seed)
    print(f"drew {args.each} pictures each into {args.folder}/ok and {args.folder}/defect")


if __name__ == "__main__":
    main()
