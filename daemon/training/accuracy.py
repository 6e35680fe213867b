#!/usr/bin/env python3
"""Compare the daemon's accuracy on the CIFAR-10 test set with ONNX Runtime's.

    python3 accuracy.py --picket PATH [--images N] [--cache DIR]

Starts `picket serve` on free ports of 127.0.0.1, sends the images as PNG over HTTP, and runs the
same model file on the same images in ONNX Runtime; `picket model logits` gives what the daemon's
probabilities come from. Exit code 1 when a request fails, when a logit differs by more than 1e-4 or
an image gets another class, or when the daemon does not stop cleanly.
"""
import argparse
import hashlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, NamedTuple

import numpy as np
from PIL import Image

from cifar10 import CACHE, LABELS, Cifar10, FetchError, fetch
from reference import session

# The file that is compiled into the daemon.
MODEL = Path(__file__).resolve().parents[1] / "crates/classifier/embedded/cifar10-int8.onnx"

CONNECTIONS = 4
IMAGES_MAX = 10_000
# Largest accepted difference of a logit: the integers are the same, floats are added in another order.
DIFFERENCE_MAX = 1e-4
# Images that ONNX Runtime runs at once.
BATCH_IMAGES = 250

START_TIMEOUT_SECS = 30
LOGITS_TIMEOUT_SECS = 300
STOP_TIMEOUT_SECS = 15
REQUEST_TIMEOUT_SECS = 30
PROGRESS_INTERVAL_SECS = 0.2
# Lines of a service's stderr that are kept.
STDERR_LINES_MAX = 1000
# Whatever would configure the daemon from outside.
ENVIRONMENT = re.compile(r"PICKET_|MLFLOW_|MODEL_(NAME|STAGE)$|NOTIFY_SOCKET$|WATCHDOG_")


class ServiceError(Exception):
    """What went wrong with a service or a request to it, on one line."""


class Service:
    """A child process that says on stderr where it listens."""

    def __init__(self, command: list[str]):
        self.name = Path(command[0]).name
        self.started = time.monotonic()
        environment = {k: v for k, v in os.environ.items() if not ENVIRONMENT.match(k)}
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
            )
        except OSError as error:
            raise ServiceError(f"cannot start {command[0]}: {error.strerror}") from None
        self._lines: deque[str] = deque(maxlen=STDERR_LINES_MAX)
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="stderr", daemon=True)
        self._reader.start()

    def address(self, listener: str) -> str:
        """HOST:PORT of a listener, once the service says so; in text or in JSON."""
        return self.wait_for(rf"listener.{{1,4}}{listener}.*?addr.{{1,4}}(127\.0\.0\.1:\d+)")

    def wait_for(self, pattern: str) -> str:
        """Group 1 of the first line of stderr in which the pattern is found."""
        deadline = time.monotonic() + START_TIMEOUT_SECS
        with self._changed:
            while True:
                found = next(filter(None, (re.search(pattern, line) for line in self._lines)), None)
                if found:
                    return found[1]
                if self._ended:
                    raise self._end()
                if not self._changed.wait(deadline - time.monotonic()):
                    raise ServiceError(f"{self.name} did not start in {START_TIMEOUT_SECS} s")

    def check_running(self) -> None:
        """Raises ServiceError when the process has ended by itself."""
        if self.process.poll() is not None:
            self._reader.join()
            raise self._end()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL when that does not help; the exit code, negative for a signal."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._reader.join()
            self.process.stderr.close()

    def _end(self) -> ServiceError:
        last = self._lines[-1] if self._lines else "it printed nothing"
        return ServiceError(f"{self.name} ended with {self.process.wait()}: {last}")

    def _read(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def serve(command: list[str], exit_codes: tuple[int, ...] = (0,)) -> Iterator[Service]:
    """A service that ends with the block, whatever happens, and with one of the exit codes."""
    service = Service(command)
    try:
        yield service
    except BaseException:
        service.stop()
        raise
    code = service.stop()
    if code not in exit_codes:
        raise ServiceError(f"{service.name} ended with {code} after SIGTERM, expected 0")


def picket_command(picket: Path, state_dir: str) -> list[str]:
    listen = ["--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]
    return [str(picket), "serve", "--state-dir", state_dir, *listen]


class Outcome(NamedTuple):
    """What a runtime said about each image, in the order of the images."""

    classes: np.ndarray
    probabilities: np.ndarray
    logits: np.ndarray


class Client:
    """Sends every image once, over a fixed number of keep-alive connections."""

    def __init__(self, address: str, images: np.ndarray):
        self._address = address
        self._images = images
        self._classes = np.full(len(images), -1)
        self._probabilities = np.zeros((len(images), len(LABELS)), dtype=np.float32)
        self._done = [0] * CONNECTIONS
        self._failures: list[str] = []
        self.digest = ""

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Class and probabilities of each image."""
        threads = [
            threading.Thread(target=self._send_share, args=(share,), name=f"connection {share}")
            for share in range(CONNECTIONS)
        ]
        progress = Progress(len(self._images))
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(PROGRESS_INTERVAL_SECS)
                    progress.show(sum(self._done))
        except BaseException:
            self._failures.append("interrupted")
            raise
        finally:
            progress.end()
        if self._failures:
            raise ServiceError(self._failures[0])
        return self._classes, self._probabilities

    def _send_share(self, share: int) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=REQUEST_TIMEOUT_SECS)
        for index in range(share, len(self._images), CONNECTIONS):
            if self._failures:
                break
            try:
                self._send(connection, index)
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                self._failures.append(f"image {index} failed: {error!r}")
            except ServiceError as error:
                self._failures.append(f"image {index} failed: {error}")
            self._done[share] += 1
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, index: int) -> None:
        body = png(self._images[index])
        connection.request("POST", "/predict", body, {"Content-Type": "image/png"})
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise ServiceError(f"{response.status} {content.decode(errors='replace').strip()}")
        answer = json.loads(content)
        self._classes[index] = answer["class"]
        self._probabilities[index] = answer["probabilities"]
        self.digest = answer["model"]["digest"]


class Progress:
    """One line that is rewritten on a terminal, else a line every 10 %."""

    STEP_PERCENT = 10

    def __init__(self, total: int):
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._next_percent = self.STEP_PERCENT

    def show(self, done: int) -> None:
        percent = done * 100 // self._total
        rate = done / (time.monotonic() - self._started)
        text = f"{done} of {self._total} images, {percent} %, {rate:.0f}/s"
        if self._terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif percent >= self._next_percent:
            print(text, file=sys.stderr, flush=True)
            self._next_percent = percent - percent % self.STEP_PERCENT + self.STEP_PERCENT

    def end(self) -> None:
        if self._terminal:
            print(file=sys.stderr)


def png(pixels: np.ndarray) -> bytes:
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "png")
    return body.getvalue()


def run_picket(picket: Path, images: np.ndarray) -> Outcome:
    """The daemon's answers; its model must be MODEL."""
    with tempfile.TemporaryDirectory(prefix="picket-accuracy-") as state_dir:
        with serve(picket_command(picket, state_dir)) as service:
            client = Client(service.address("api"), images)
            classes, probabilities = client.run()
    expected = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    if client.digest != expected:
        raise ServiceError(f"the daemon runs model {client.digest}, {MODEL.name} is {expected}")
    return Outcome(classes, probabilities, run_logits(picket, images))


def run_logits(picket: Path, images: np.ndarray) -> np.ndarray:
    command = [str(picket), "model", "logits", "-"]
    done = subprocess.run(command, input=np.ascontiguousarray(images).tobytes(),
                          capture_output=True, timeout=LOGITS_TIMEOUT_SECS)
    if done.returncode:
        raise ServiceError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
    logits = [json.loads(line) for line in done.stdout.splitlines()]
    if len(logits) != len(images):
        raise ServiceError(f"{len(logits)} lines of logits for {len(images)} images")
    return np.array(logits, dtype=np.float32)


def run_onnx_runtime(images: np.ndarray) -> Outcome:
    reference = session(MODEL)
    (model_input,) = reference.get_inputs()
    tensor = to_input(images, model_input.type, model_input.shape)
    fixed = model_input.shape[0] if isinstance(model_input.shape[0], int) else BATCH_IMAGES
    logits = np.concatenate([
        reference.run(None, {model_input.name: tensor[at:at + fixed]})[0]
        for at in range(0, len(tensor), fixed)
    ])
    return Outcome(logits.argmax(axis=1), softmax(logits), logits)


def to_input(images: np.ndarray, kind: str, shape: list) -> np.ndarray:
    """Images to the model's layout and type: raw pixels, or pixel - 128 where it takes int8."""
    pixels = images.transpose(0, 3, 1, 2) if shape[1] == 3 else images
    match kind:
        case "tensor(uint8)":
            return np.ascontiguousarray(pixels)
        case "tensor(int8)":
            return (pixels.astype(np.int16) - 128).astype(np.int8)
        case "tensor(float)":
            return pixels.astype(np.float32)
    raise ServiceError(f"the model's input is {kind}, one of uint8, int8, float is needed")


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def report(labels: np.ndarray, picket: Outcome, reference: Outcome) -> None:
    """Prints the comparison; raises ServiceError when the two differ by more than rounding."""
    right = picket.classes == labels
    reference_right = reference.classes == labels
    print(f"{'class':<12}{'images':>8}{'picket %':>12}{'ONNX Runtime %':>16}")
    rows = [(label, labels == index) for index, label in enumerate(LABELS)]
    for label, of_class in rows + [("all", np.full(len(labels), True))]:
        if of_class.any():
            shares = 100 * right[of_class].mean(), 100 * reference_right[of_class].mean()
            print(f"{label:<12}{of_class.sum():>8}{shares[0]:>12.2f}{shares[1]:>16.2f}")
    disagree = int((picket.classes != reference.classes).sum())
    logits = np.abs(picket.logits - reference.logits).max()
    probabilities = np.abs(picket.probabilities - reference.probabilities).max()
    print(f"different class: {disagree} of {len(labels)} images")
    print(f"largest difference of a logit: {logits:.2g}, at most {DIFFERENCE_MAX:.0e} is accepted")
    print(f"largest difference of a probability: {probabilities:.2g}")
    if disagree or not logits <= DIFFERENCE_MAX:
        raise ServiceError("the daemon and ONNX Runtime don't give the same answers")


def image_count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= IMAGES_MAX:
        raise argparse.ArgumentTypeError(f"{count} is not in 1 to {IMAGES_MAX}")
    return count


def end_on_sigterm() -> None:
    """Lets SIGTERM unwind the stack, so that no child is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picket", type=Path, required=True, help="the daemon's binary")
    parser.add_argument("--images", type=image_count, default=IMAGES_MAX, metavar="N",
                        help="how many of the test set's images, from its start")
    parser.add_argument("--cache", type=Path, default=CACHE, help="default: %(default)s")
    args = parser.parse_args()
    end_on_sigterm()
    try:
        data: Cifar10 = fetch(args.cache)
        images, labels = data.x_test[:args.images], data.y_test[:args.images]
        report(labels, run_picket(args.picket, images), run_onnx_runtime(images))
    except (FetchError, ServiceError, OSError) as error:
        sys.exit(f"accuracy: {error}")
    except KeyboardInterrupt:
        sys.exit("accuracy: interrupted")


if __name__ == "__main__":
    main()
