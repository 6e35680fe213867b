#!/usr/bin/env python3
"""Train the float network on CIFAR-10's training set.

    python3 train.py [--epochs N] [--threads N] [--work DIR]

Goes on where it stopped: the state is written after every epoch. 5,000 of the 50,000 training images
are held out, and all choices are made on them; the test set is not read. Runs on a GPU where torch
finds one, else on the CPU, in bfloat16 where there are instructions for it.
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from cifar10 import fetch  # noqa: E402

from muon import Muon
from net import PIXEL_ZERO, build, macs, pixels

WORK = Path(__file__).resolve().parents[3] / ".cache" / "model"
SEED = 20_261_125
HELD_OUT = 5_000

EPOCHS = 110
BATCH = 500
# Relative step of Muon for the convolutions, learning rate of SGD for everything else; both rise
# over the first epochs and then fall to zero in a straight line.
CONV_RATE = 0.1
OTHER_RATE = 0.05
WARM_UP = 0.05
LABEL_SMOOTHING = 0.1

# Augmentation: a crop after so much padding, a mirror, and a square that is blanked in half of the
# images.
PAD = 4
BLANK = 10
BLANK_SHARE = 0.5
# Weight of the past in the running average of the weights, which is what is kept.
AVERAGE = 0.999


def split(cache: Path | None = None) -> tuple[torch.Tensor, ...]:
    """Training and held-out images, uint8 [N, 3, 32, 32], each with its labels, int64 [N]."""
    data = fetch(cache) if cache else fetch()
    images = torch.from_numpy(data.x_train.transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(data.y_train.astype(np.int64))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    kept, held = order[HELD_OUT:], order[:HELD_OUT]
    return images[kept], labels[kept], images[held], labels[held]


class Augment:
    """Another view of each training image, every time."""

    def __init__(self, images: torch.Tensor):
        self.padded = F.pad(images, (PAD,) * 4, value=PIXEL_ZERO)
        self.side = images.shape[-1]

    def __call__(self, which: torch.Tensor) -> torch.Tensor:
        count, along = len(which), torch.arange(self.side)
        top, left = torch.randint(0, 2 * PAD + 1, (2, count, 1))
        rows = top + along
        mirrored = torch.rand(count, 1) < 0.5
        columns = left + torch.where(mirrored, self.side - 1 - along, along)
        views = self.padded[
            which[:, None, None, None],
            torch.arange(3)[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]
        y, x = torch.randint(-BLANK // 2, self.side - BLANK // 2, (2, count, 1))
        covers = lambda start: (along >= start) & (along < start + BLANK)  # noqa: E731
        square = covers(y)[:, :, None] & covers(x)[:, None, :]
        square &= torch.rand(count, 1, 1) < BLANK_SHARE
        return views.masked_fill(square[:, None], PIXEL_ZERO)


def accuracy(net: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, device: str) -> float:
    net.eval()
    right = 0
    with torch.no_grad():
        for at in range(0, len(images), BATCH):
            logits = net(pixels(images[at : at + BATCH].to(device)))
            right += (logits.argmax(1).cpu() == labels[at : at + BATCH]).sum().item()
    net.train()
    return right / len(images)


def fastest_type(device: str) -> torch.dtype:
    """What the network multiplies in: without instructions for it bfloat16 is ten times slower."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = torch.cpu.get_capabilities()
    has = any(able.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return torch.bfloat16 if has else torch.float32


class Run:
    """All that changes while training, so that it can be written down and taken up again."""

    def __init__(self, epochs: int, device: str):
        torch.manual_seed(SEED)
        self.epochs, self.device, self.epoch = epochs, device, 0
        self.type = fastest_type(device)
        self.net, self.average = build().to(device), build().to(device)
        self.average.load_state_dict(self.net.state_dict())
        conv = [p for p in self.net.parameters() if p.ndim == 4]
        other = [p for p in self.net.parameters() if p.ndim != 4]
        self.rates = (CONV_RATE, OTHER_RATE)
        self.optimizers = (
            Muon(conv, lr=CONV_RATE),
            torch.optim.SGD(other, lr=OTHER_RATE, momentum=0.9, nesterov=True),
        )

    def state(self) -> dict:
        return {
            "epoch": self.epoch,
            "epochs": self.epochs,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": torch.get_rng_state(),
        }

    def take_up(self, state: dict) -> None:
        if state["epochs"] != self.epochs:
            sys.exit(f"train: the state is of a run of {state['epochs']} epochs, not {self.epochs}")
        self.epoch = state["epoch"]
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        for optimizer, of in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(of)
        torch.set_rng_state(state["random"])

    def train_epoch(self, augment: Augment, labels: torch.Tensor) -> tuple[float, float]:
        """Returns mean loss and accuracy over the epoch's views."""
        steps = len(labels) // BATCH
        order, loss_sum, right = torch.randperm(len(labels)), 0.0, 0
        for step in range(steps):
            self.set_rates(self.epoch + step / steps)
            which = order[step * BATCH : (step + 1) * BATCH]
            views, wanted = pixels(augment(which).to(self.device)), labels[which].to(self.device)
            with torch.autocast(self.device, self.type, enabled=self.type != torch.float32):
                logits = self.net(views)
            loss = F.cross_entropy(logits.float(), wanted, label_smoothing=LABEL_SMOOTHING)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            self.move_average(self.epoch * steps + step)
            loss_sum += loss.item()
            right += (logits.argmax(1) == wanted).sum().item()
        self.epoch += 1
        return loss_sum / steps, right / (steps * BATCH)

    def set_rates(self, epochs_done: float) -> None:
        done = epochs_done / self.epochs
        share = min(done / WARM_UP, (1 - done) / (1 - WARM_UP)) if done else 1e-3
        for optimizer, rate in zip(self.optimizers, self.rates):
            for group in optimizer.param_groups:
                group["lr"] = rate * share

    @torch.no_grad()
    def move_average(self, step: int) -> None:
        past = min(AVERAGE, (1 + step) / (10 + step))
        for mean, now in zip(self.average.state_dict().values(), self.net.state_dict().values()):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - past)
            else:
                mean.copy_(now)


def train(epochs: int, work: Path, cache: Path | None) -> Path:
    """Trains to the end and returns the path of the averaged network's weights."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, labels, held_images, held_labels = split(cache)
    augment, run = Augment(images), Run(epochs, device)
    checkpoint, done = work / "checkpoint.pt", work / "float.pt"
    work.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        run.take_up(torch.load(checkpoint, map_location=device, weights_only=True))
    what = f"{macs() / 1e6:.1f} MMAC, {len(images)} images, on {device} in {run.type}"
    print(f"{what}, from epoch {run.epoch + 1}", flush=True)
    while run.epoch < epochs:
        began = time.monotonic()
        loss, seen = run.train_epoch(augment, labels)
        held = accuracy(run.average, held_images, held_labels, device)
        partial = checkpoint.with_suffix(".partial")
        torch.save(run.state(), partial)
        partial.replace(checkpoint)
        left = (epochs - run.epoch) * (time.monotonic() - began) / 60
        print(
            f"epoch {run.epoch}/{epochs} loss {loss:.4f} views right {seen:.4f}"
            f" held out {held:.4f}, {left:.0f} min left",
            flush=True,
        )
    torch.save(run.average.state_dict(), done)
    return done


def parser(description: str, epochs: int) -> argparse.ArgumentParser:
    """What every step that trains takes."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--epochs", type=int, default=epochs, help="default: %(default)s")
    options.add_argument("--threads", type=int, help="default: all cores")
    options.add_argument("--work", type=Path, default=WORK, help="default: %(default)s")
    options.add_argument("--cache", type=Path, help="of the data set")
    return options


def arguments(options: argparse.ArgumentParser) -> argparse.Namespace:
    args = options.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    return args


def main() -> None:
    args = arguments(parser(__doc__.splitlines()[0], EPOCHS))
    print("wrote", train(args.epochs, args.work, args.cache))


if __name__ == "__main__":
    main()
