#!/usr/bin/env python3
"""Loads a daemon with everything on for a long time: its memory and its descriptors stay flat.

    soak.py --picket FILE [--minutes N] [--report FILE.md]

TLS, a token, a registry that is away, small limits of the log so that retention works all the time, SIGHUP, and
clients of every kind at once, those that vanish and those that never read among them. Once a second the rig
reads resident memory, descriptors and threads. The first third is warm-up; between the second and the last
third nothing may grow. Of Python the standard library only. Ends with 1 when a goal is missed.
"""
import argparse
import collections
import contextlib
import datetime
import http.client
import itertools
import json
import os
import pathlib
import platform
import random
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable, NamedTuple

PROJECT = pathlib.Path(__file__).resolve().parents[3]
DATA = PROJECT / "daemon/tests/data"

TOKEN = "soak-" + "t" * 40
ANSWER_TIMEOUT_SECS = 30
READY_TIMEOUT_SECS = 30
SAMPLE_SECS = 1.0
RELOAD_SECS = 20
CLI_SECS = 15
# After the load: connections that wait for an idle client are gone by then.
REST_SECS = 20

# Resident memory of the last third beside the second: what a log's cache or a heap's holes may still take.
GROWTH_BYTES_MAX = 3 << 20
DESCRIPTORS_GROWTH_MAX = 2
PROBE_P99_SECS_MAX = 0.1

CONFIG = """
state_dir = "{state}"
device_id = "soak"
[api]
listen = "127.0.0.1:{api}"
token_file = "{state}/token"
tls_cert = "{tls}/chain.pem"
tls_key = "{tls}/key.pem"
[probe]
listen = "127.0.0.1:{probe}"
[model]
registry = "http://127.0.0.1:9"
[log]
max_records = 20000
max_bytes = "20MB"
"""

EXTENSIONS = {".jpg": "image/jpeg", ".png": "image/png", ".bmp": "image/bmp", ".tif": "image/tiff",
              ".pgm": "image/x-portable-anymap", ".ppm": "image/x-portable-anymap"}


class Sample(NamedTuple):
    at: float
    resident: int
    descriptors: int
    threads: int


class Daemon:
    """The daemon's process, its ports, and what /proc tells of it."""

    def __init__(self, picket: str, state: pathlib.Path) -> None:
        self.api, self.probe = free_port(), free_port()
        tls = state / "tls"
        tls.mkdir()
        certificate(tls)
        (state / "token").write_text(TOKEN)
        (state / "token").chmod(0o600)
        config = state / "picket.toml"
        config.write_text(CONFIG.format(state=state, api=self.api, probe=self.probe, tls=tls))
        self.messages = open(state / "messages", "w+", encoding="utf-8")
        self.picket, self.config, self.state = picket, config, state
        environment = {"PATH": os.environ["PATH"]}
        self.process = subprocess.Popen([picket, "serve", "--config", str(config)], env=environment,
                                        stderr=self.messages, stdout=subprocess.DEVNULL)
        self.context = ssl.create_default_context(cafile=str(tls / "chain.pem"))

    def wait_until_ready(self) -> None:
        end = time.monotonic() + READY_TIMEOUT_SECS
        while time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask_probe("/ready")[0] == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"soak: the daemon did not become ready\n{self.said()}")

    def said(self) -> str:
        return pathlib.Path(self.messages.name).read_text(encoding="utf-8")

    def sample(self) -> Sample:
        proc = pathlib.Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line)
        resident = int(status["VmRSS"].split()[0]) << 10
        return Sample(time.monotonic(), resident, len(os.listdir(proc / "fd")), int(status["Threads"]))

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.api, timeout=ANSWER_TIMEOUT_SECS, context=self.context)

    def ask_probe(self, path: str) -> tuple[int, float]:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.probe, timeout=ANSWER_TIMEOUT_SECS)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, time.monotonic() - began


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def certificate(tls: pathlib.Path) -> None:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", str(tls / "key.pem"), "-out", str(tls / "chain.pem")],
                   check=True, capture_output=True)


class Tally:
    """What was asked and what came back, by kind of client."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: collections.Counter[tuple[str, int]] = collections.Counter()
        self.unexpected: list[str] = []
        self.probes: list[float] = []

    def answered(self, kind: str, status: int, wanted: set[int], text: bytes) -> None:
        with self.lock:
            self.answers[kind, status] += 1
            if status not in wanted and len(self.unexpected) < 20:
                self.unexpected.append(f"{kind}: {status} {text[:200]!r}")

    def failed(self, kind: str, error: Exception) -> None:
        with self.lock:
            self.answers[kind, 0] += 1
            if len(self.unexpected) < 20:
                self.unexpected.append(f"{kind}: {error!r}")


# A busy daemon may turn requests away; that is an answer.
BUSY = {429, 503}


class Asking:
    """A client that keeps its connection, and connects again where the daemon ended it."""

    def __init__(self, daemon: Daemon, tally: Tally, kind: str) -> None:
        self.daemon, self.tally, self.kind = daemon, tally, kind
        self.connection = daemon.connect()

    def ask(self, method: str, path: str, wanted: set[int], body: bytes | None = None,
            media: str | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if media:
            headers["Content-Type"] = media
        for attempt in (1, 2):
            try:
                self.connection.request(method, path, body, headers)
                answer = self.connection.getresponse()
                text = answer.read()
                self.tally.answered(self.kind, answer.status, wanted | BUSY, text)
                if answer.status in BUSY:
                    time.sleep(0.2)
                return text
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                # The daemon may have ended a connection that was idle; then the second try is the first.
                if attempt == 2:
                    self.tally.failed(self.kind, error)
        return b""


def raw(asking: Asking, rng: random.Random) -> None:
    query = rng.choice(["", "", "?durable=true", "?top=3&probabilities=all"])
    asking.ask("POST", "/predict" + query, {200}, rng.randbytes(3072), "application/octet-stream")


def floats(asking: Asking, rng: random.Random) -> None:
    body = json.dumps({"data": [rng.randrange(511) / 2 for _ in range(3072)], "range": "0..255"}).encode()
    asking.ask("POST", "/predict", {200}, body, "application/json")


PICTURES = [(path.read_bytes(), EXTENSIONS[path.suffix]) for path in sorted(DATA.glob("**/*"))
            if path.suffix in EXTENSIONS]


def picture(asking: Asking, rng: random.Random) -> None:
    body, media = rng.choice(PICTURES)
    # Some of the tests' pictures are there to be refused.
    asking.ask("POST", "/predict", {200, 400, 413, 415, 422}, body, media if rng.random() < 0.5 else None)


def damaged(asking: Asking, rng: random.Random) -> None:
    body, media = rng.choice(PICTURES)
    bytes_ = bytearray(body[:rng.randrange(1, len(body))])
    for _ in range(rng.randrange(4)):
        bytes_[rng.randrange(len(bytes_))] = rng.randrange(256)
    asking.ask("POST", "/predict", {200, 400, 413, 415, 422}, bytes(bytes_), media)


def large(asking: Asking, rng: random.Random) -> None:
    width, height = rng.choice([(1920, 1080), (2400, 1800)])
    body = f"P6 {width} {height} 255\n".encode() + bytes([rng.randrange(256)]) * (width * height * 3)
    asking.ask("POST", "/predict", {200}, body, "image/x-portable-anymap")
    time.sleep(0.1)


def batch(asking: Asking, rng: random.Random) -> None:
    count = rng.choice([1, 10, 200, 1000])
    now = time.time()
    records = [{"image_id": f"i{index}", "timestamp": now, "model_version": "1", "model_name": "remote",
                "inference_time_ms": 3.5, "detections": [{"class": "scratch", "confidence": 0.9,
                                                          "bbox": [1, 2, 3, 4]}],
                "defect_detected": rng.random() < 0.1, "confidence_scores": [0.9]} for index in range(count)]
    body = json.dumps({"predictions": records, "batch_size": count, "timestamp": now,
                       "edge_device_id": f"box-{rng.randrange(50)}"}).encode()
    asking.ask("POST", "/log", {200}, body, "application/json")
    time.sleep(0.2)


def pages(asking: Asking, rng: random.Random) -> None:
    query = rng.choice(["limit=100", "limit=1000", "defect_only=true", f"edge_device_id=box-{rng.randrange(60)}",
                        "label=scratch&limit=10"])
    for _ in range(3):
        text = asking.ask("GET", f"/predictions?{query}", {200})
        after = json.loads(text or b"{}").get("next")
        if after is None:
            break
        query = query.split("&after=")[0] + f"&after={after}"
    asking.ask("GET", "/stats", {200})


def vanishing(daemon: Daemon, rng: random.Random) -> None:
    """Clients that end in the middle of something, each in another way."""
    stream = socket.create_connection(("127.0.0.1", daemon.api), timeout=ANSWER_TIMEOUT_SECS)
    how = rng.randrange(5)
    if how == 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    elif how == 1:
        stream.sendall(b"\x16\x03\x01")
    else:
        secured = daemon.context.wrap_socket(stream, server_hostname="localhost")
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 3072\r\n\r\n"
        secured.sendall(head.encode() + rng.randbytes(rng.choice([0, 100, 3072])))
        if how == 2:
            secured.shutdown(socket.SHUT_WR)
        stream = secured
    stream.close()
    time.sleep(0.05)


def unread(daemon: Daemon, rng: random.Random) -> None:
    """A client that asks for pages and reads none of them."""
    secured = daemon.context.wrap_socket(socket.create_connection(("127.0.0.1", daemon.api)),
                                         server_hostname="localhost")
    head = f"GET /predictions?limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    secured.sendall(head.encode() * 20)
    time.sleep(rng.uniform(1, 10))
    secured.close()


def forever(work: Callable[[random.Random], None], kind: str, tally: Tally, stop: threading.Event) -> None:
    rng = random.Random(kind)
    while not stop.is_set():
        try:
            work(rng)
        except (OSError, ssl.SSLError):
            # Who ends a connection in the middle may be told so, and who does not read may be cut off.
            tally.answered(kind, 0, {0}, b"")


def clients(daemon: Daemon, tally: Tally, stop: threading.Event) -> list[threading.Thread]:
    asking = [raw, raw, floats, picture, damaged, large, batch, pages]
    works: list[tuple[str, Callable[[random.Random], None]]] = []
    for work in asking:
        client = Asking(daemon, tally, work.__name__)
        works.append((work.__name__, lambda rng, client=client, work=work: work(client, rng)))
    for work in (vanishing, unread):
        works.append((work.__name__, lambda rng, work=work: work(daemon, rng)))

    def probes(_: random.Random) -> None:
        for path in ("/health", "/ready", "/metrics"):
            status, took = daemon.ask_probe(path)
            tally.answered("probe", status, {200}, path.encode())
            tally.probes.append(took)
        time.sleep(0.2)

    def reloads(_: random.Random) -> None:
        stop.wait(RELOAD_SECS)
        if not stop.is_set():
            daemon.process.send_signal(signal.SIGHUP)

    def command_line(_: random.Random) -> None:
        done = subprocess.run([daemon.picket, "log", "tail", "-n", "100", "--store", str(daemon.state / "log")],
                              capture_output=True, timeout=ANSWER_TIMEOUT_SECS, check=False)
        tally.answered("picket log tail", done.returncode, {0}, done.stderr)
        stop.wait(CLI_SECS)

    works += [("probe", probes), ("reload", reloads), ("picket log tail", command_line)]
    return [threading.Thread(target=forever, args=(work, kind, tally, stop), daemon=True) for kind, work in works]


class Judgement:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, bool]] = []

    def goal(self, what: str, found: str, goal: str, met: bool) -> None:
        self.lines.append((what, found, goal, met))
        print(f"  {what:<40} {found:<28} {goal}: {'ok' if met else 'MISSED'}", flush=True)

    def holds(self) -> bool:
        return all(met for *_, met in self.lines)


def mib(count: float) -> str:
    return f"{count / (1 << 20):.1f} MiB"


def judge(samples: list[Sample], tally: Tally, rested: Sample, idle: Sample) -> Judgement:
    third = len(samples) // 3
    middle, last = samples[third:2 * third], samples[2 * third:]
    judgement = Judgement()
    residents = [statistics.median(sample.resident for sample in part) for part in (middle, last)]
    judgement.goal("resident memory, second and last third", f"{mib(residents[0])}, {mib(residents[1])}",
                   f"<= {mib(GROWTH_BYTES_MAX)} more", residents[1] - residents[0] <= GROWTH_BYTES_MAX)
    descriptors = [max(sample.descriptors for sample in part) for part in (middle, last)]
    judgement.goal("descriptors, second and last third", f"{descriptors[0]}, {descriptors[1]}", "no growth",
                   descriptors[1] - descriptors[0] <= max(DESCRIPTORS_GROWTH_MAX, descriptors[0] // 5))
    judgement.goal("descriptors before and after the load", f"{idle.descriptors}, {rested.descriptors}",
                   f"<= {DESCRIPTORS_GROWTH_MAX} more",
                   rested.descriptors - idle.descriptors <= DESCRIPTORS_GROWTH_MAX)
    threads = [max(sample.threads for sample in part) for part in (middle, last)]
    judgement.goal("threads, second and last third", f"{threads[0]}, {threads[1]}", "no growth",
                   threads[1] <= threads[0])
    times = sorted(tally.probes)
    p99 = times[int(0.99 * (len(times) - 1))] if times else float("inf")
    judgement.goal(f"p99 of {len(times)} probes", f"{1000 * p99:.1f} ms", f"<= {1000 * PROBE_P99_SECS_MAX:.0f} ms",
                   p99 <= PROBE_P99_SECS_MAX)
    judgement.goal("answers that nobody asked for", str(len(tally.unexpected)), "none", not tally.unexpected)
    for kind in sorted({kind for kind, _ in tally.answers} - {"vanishing", "unread"}):
        good = sum(count for (of, status), count in tally.answers.items() if of == kind and status not in BUSY)
        judgement.goal(f"answers to {kind}", str(good), "some", good > 0)
    for text in tally.unexpected:
        print(f"    {text}")
    return judgement


def report(path: pathlib.Path, version: str, minutes: float, samples: list[Sample], tally: Tally,
           judgement: Judgement) -> None:
    """Writes what was seen as a page of the documentation."""
    cpus = os.cpu_count()
    lines = ["# Soak", "",
             f"`./dev soak {minutes:g}` on {datetime.date.today()}, {version.split()[1]}, {platform.machine()}, {cpus} cores; "
             "the clients share them with the daemon. Everything is on: TLS, a token, a registry that is away,",
             "retention, a reload every 20 seconds. The page is written by the run.", "",
             "| | seen | goal |", "|---|---|---|"]
    lines += [f"| {what} | {found} | {goal}{'' if met else ' (missed)'} |" for what, found, goal, met in judgement.lines]
    lines += ["", "| minute | resident MiB | descriptors | threads |", "|---|---|---|---|"]
    began = samples[0].at
    for minute, group in itertools.groupby(samples, lambda sample: int(sample.at - began) // 60):
        part = list(group)
        lines.append(f"| {minute} | {max(sample.resident for sample in part) / (1 << 20):.1f} "
                     f"| {max(sample.descriptors for sample in part)} | {max(sample.threads for sample in part)} |")
    lines += ["", "Memory is the highest of the minute. Requests by kind and status, 0 where the connection ended:", "",
              "| client | status | answers |", "|---|---|---|"]
    lines += [f"| {kind} | {status} | {count} |" for (kind, status), count in sorted(tally.answers.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--picket", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--report", type=pathlib.Path)
    arguments = parser.parse_args()
    version = subprocess.run([arguments.picket, "version"], capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="picket-soak-") as state:
        daemon = Daemon(arguments.picket, pathlib.Path(state))
        try:
            daemon.wait_until_ready()
            return soak(daemon, arguments, version)
        finally:
            daemon.process.kill()


def soak(daemon: Daemon, arguments: argparse.Namespace, version: str) -> int:
    tally, stop, samples = Tally(), threading.Event(), []
    idle = daemon.sample()
    threads = clients(daemon, tally, stop)
    for thread in threads:
        thread.start()
    end = time.monotonic() + arguments.minutes * 60
    while time.monotonic() < end:
        if daemon.process.poll() is not None:
            print(daemon.said()[-2000:])
            raise SystemExit(f"soak: the daemon ended with {daemon.process.returncode}")
        samples.append(daemon.sample())
        time.sleep(SAMPLE_SECS)
    stop.set()
    for thread in threads:
        thread.join(ANSWER_TIMEOUT_SECS)
    time.sleep(REST_SECS)
    judgement = judge(samples, tally, daemon.sample(), idle)
    daemon.process.send_signal(signal.SIGTERM)
    code = daemon.process.wait(READY_TIMEOUT_SECS)
    judgement.goal("exit status after SIGTERM", str(code), "0", code == 0)
    verified = subprocess.run([daemon.picket, "log", "verify", "--store", str(daemon.state / "log")],
                              capture_output=True, text=True, check=False)
    judgement.goal("picket log verify", str(verified.returncode), "0", verified.returncode == 0)
    panics = daemon.said().count("panicked")
    judgement.goal("panics", str(panics), "none", panics == 0)
    if arguments.report:
        report(arguments.report, version, arguments.minutes, samples, tally, judgement)
    print("RESULT", "flat" if judgement.holds() else "not flat")
    return 0 if judgement.holds() else 1


if __name__ == "__main__":
    sys.exit(main())
