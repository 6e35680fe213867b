#!/usr/bin/env python3
"""Measure picket over HTTP beside a FastAPI service of the same contract, on this machine.

    python3 load.py --picket PATH [--before PATH] [--quick] [--json FILE]

Both run at once on 127.0.0.1 and are loaded in turn (A B A B) by wrk with the same JSON body, so
that noise of the machine meets both. wrk is a closed loop: each connection waits for its answer.
The load generator and the probes share the cores with the service they measure. While one is
loaded, its /health and /ready are asked on new connections, as a kubelet does. The peer is peer.py.

Then picket alone gets raw bytes and JSON in turn, and with it the binary of --before: predictions a
second, and what the processor spends on one, user and system of the whole process.
"""
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL_DIR = HERE.parents[1] / "training"
sys.path.append(str(MODEL_DIR))

import argparse
import http.client
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import Callable, NamedTuple

from accuracy import MODEL, Service, ServiceError, end_on_sigterm, picket_command, serve

CONNECTIONS = 8
WRK_THREADS = 2
STARTS = 5
READY_POLL_SECS = 0.002
READY_TIMEOUT_SECS = 30
PROBE_INTERVAL_SECS = 0.05
PROBE_TIMEOUT_SECS = 5
PROBES = ("/health", "/ready")
# How long wrk may go on beyond its duration.
WRK_GRACE_SECS = 15
# A run of wrk that only adds predictions, and how many of them one service may take.
TOP_UP_SECS = 10
TOP_UPS_MAX = 12
# Numbers of a body: 3x32x32, in halves from 0 to 255.
BODY_VALUES = 3072
RAW, JSON = "application/octet-stream", "application/json"
# In which /proc states a process' time.
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = os.getenv("BODY_TYPE")
local file = assert(io.open(os.getenv("BODY_FILE"), "rb"))
wrk.body = file:read("*a")
file:close()

-- A response callback would slow the load down: wrk itself counts each status above 399.
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,' ..
    '"bad_status":%d,"failed":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, failed))
end
"""


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int
    round_secs: int
    # Predictions of picket before its memory is read again.
    predictions: int


FULL = Plan(rounds=3, round_secs=10, predictions=100_000)
QUICK = Plan(rounds=1, round_secs=4, predictions=5_000)


# A state directory to the command that serves from it.
Command = Callable[[str], list[str]]


class Contender:
    """One of the two services, and what was measured of it."""

    def __init__(self, name: str, command: Command, probe: str, exit_codes: tuple[int, ...]):
        self.name = name
        self._command = command
        # The listener that serves the probes.
        self._probe = probe
        self._exit_codes = exit_codes
        self.predictions = 0
        self.rounds: list[dict] = []
        self.probe_ms: dict[str, list[float]] = {path: [] for path in PROBES}
        self.probe_failures = 0
        self.start_ms: list[float] = []
        self.own_start_ms: list[int] = []
        self.rss_start_kib = 0
        self.rss_end_kib = 0

    def start(self, stack: ExitStack) -> float:
        """Starts it until the stack unwinds; milliseconds from exec until /ready was 200."""
        state_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="picket-bench-"))
        command = self._command(state_dir)
        self._service: Service = stack.enter_context(serve(command, self._exit_codes))
        self.probe_address = self._service.address(self._probe)
        wait_until_ready(self._service, self.probe_address)
        elapsed_ms = (time.monotonic() - self._service.started) * 1e3
        self.api_address = self._service.address("api")
        self.rss_start_kib = self.rss_kib()
        return elapsed_ms

    def measure_starts(self, own_start: str | None) -> None:
        """Starts and stops it; `own_start` finds the milliseconds that it states itself."""
        for _ in range(STARTS):
            with ExitStack() as stack:
                self.start_ms.append(self.start(stack))
                if own_start:
                    self.own_start_ms.append(int(self._service.wait_for(own_start)))

    def cpu_us(self) -> list[float]:
        """What the process has spent so far, in microseconds: user and system."""
        stat = Path(f"/proc/{self._service.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return [int(field) * 1e6 / TICKS_PER_SECOND for field in fields[11:13]]

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self._service.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


class Load:
    """Posts one body with wrk, and checks that every answer was good."""

    def __init__(self, directory: Path):
        self._script = directory / "load.lua"
        self._script.write_text(LUA)
        self._body = directory / "body.json"
        values = [(31 * i * i + 7 * i) % 511 / 2 for i in range(BODY_VALUES)]
        self._body.write_text(json.dumps({"data": values}))
        raw = directory / "body.raw"
        raw.write_bytes(bytes(int(value) for value in values))
        self._bodies = {JSON: self._body, RAW: raw}

    def run(self, contender: Contender, secs: int, media: str = JSON) -> dict:
        command = ["wrk", "--latency", f"-c{CONNECTIONS}", f"-t{WRK_THREADS}", f"-d{secs}s"]
        command += ["-s", str(self._script), f"http://{contender.api_address}/predict"]
        environment = os.environ | {"BODY_FILE": str(self._bodies[media]), "BODY_TYPE": media}
        spent = contender.cpu_us()
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=secs + WRK_GRACE_SECS,
            )
        except subprocess.TimeoutExpired:
            raise ServiceError(f"wrk did not end {WRK_GRACE_SECS} s after its time") from None
        found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
        if done.returncode != 0 or not found:
            reason = (done.stderr.strip() or "it printed no result").splitlines()[-1]
            raise ServiceError(f"wrk failed with {done.returncode}: {reason}")
        result = json.loads(found[1])
        if result["bad_status"] or result["failed"] or not result["requests"]:
            counts = f"{result['bad_status']} refused, {result['failed']} failed"
            raise ServiceError(f"{contender.name}: {counts} of {result['requests']} requests")
        spent = [now - then for now, then in zip(contender.cpu_us(), spent)]
        result["user_us"], result["system_us"] = (part / result["requests"] for part in spent)
        contender.predictions += result["requests"]
        return result

    def check(self, contender: Contender) -> int:
        """The class that it answers to the body."""
        connection = http.client.HTTPConnection(contender.api_address, timeout=PROBE_TIMEOUT_SECS)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/predict", self._body.read_bytes(), headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != 200:
            text = content.decode(errors="replace").strip()
            raise ServiceError(f"{contender.name} answered {response.status} {text}")
        contender.predictions += 1
        return json.loads(content)["class"]


class Prober:
    """Asks one path at a fixed rate on new connections, until it is stopped."""

    def __init__(self, contender: Contender, path: str, delay_secs: float):
        self._contender = contender
        self._path = path
        self._delay_secs = delay_secs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe {path}")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self._delay_secs
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            started = time.monotonic()
            if probe(self._contender.probe_address, self._path) == 200:
                elapsed_ms = (time.monotonic() - started) * 1e3
                self._contender.probe_ms[self._path].append(elapsed_ms)
            else:
                self._contender.probe_failures += 1
            due = max(due + PROBE_INTERVAL_SECS, time.monotonic())


def probe(address: str, path: str) -> int:
    """The status of a GET, 0 when there was no answer."""
    connection = http.client.HTTPConnection(address, timeout=PROBE_TIMEOUT_SECS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def wait_until_ready(service: Service, address: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECS
    while probe(address, "/ready") != 200:
        service.check_running()
        if time.monotonic() > deadline:
            raise ServiceError(f"/ready did not answer 200 in {READY_TIMEOUT_SECS} s")
        time.sleep(READY_POLL_SECS)


def measure(contenders: tuple[Contender, Contender], plan: Plan) -> None:
    """Fills in everything that the contenders hold."""
    for contender, own_start in zip(contenders, (r"start_ms\D{1,3}(\d+)", None)):
        say(f"starting {contender.name} {STARTS} times")
        contender.measure_starts(own_start)
    with ExitStack() as stack:
        load = Load(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for contender in contenders:
            contender.start(stack)
        classes = [load.check(contender) for contender in contenders]
        if classes[0] != classes[1]:
            raise ServiceError(f"the two answer class {classes[0]} and {classes[1]} to one body")
        for number in range(1, plan.rounds + 1):
            for contender in contenders:
                measure_round(load, contender, plan.round_secs)
                rate = per_second(contender.rounds[-1])
                say(f"round {number} of {plan.rounds}, {contender.name}: {rate:.0f} predictions/s")
        for contender in contenders:
            top_up(load, contender, plan.predictions)
            contender.rss_end_kib = contender.rss_kib()


def measure_alone(contenders: list[Contender], plan: Plan) -> dict[str, dict]:
    """Rounds of picket, and of the binary before it, by name and type of body."""
    found: dict[str, dict] = {contender.name: {RAW: [], JSON: []} for contender in contenders}
    with ExitStack() as stack:
        load = Load(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for contender in contenders:
            contender.start(stack)
        for number in range(1, plan.rounds + 1):
            for media in (RAW, JSON):
                for contender in contenders:
                    found[contender.name][media].append(load.run(contender, plan.round_secs, media))
            say(f"round {number} of {plan.rounds} of picket alone")
    return found


def measure_round(load: Load, contender: Contender, secs: int) -> None:
    with ExitStack() as probers:
        # Spread over the interval, so that they do not wait for each other.
        for index, path in enumerate(PROBES):
            delay_secs = index * PROBE_INTERVAL_SECS / len(PROBES)
            probers.enter_context(Prober(contender, path, delay_secs))
        contender.rounds.append(load.run(contender, secs))


def top_up(load: Load, contender: Contender, predictions: int) -> None:
    """Goes on until the service has made so many predictions, within a bounded time."""
    for _ in range(TOP_UPS_MAX):
        missing = predictions - contender.predictions
        if missing <= 0:
            return
        say(f"{contender.name} has made {contender.predictions} of {predictions} predictions")
        rate = max(1.0, per_second(contender.rounds[-1]))
        load.run(contender, min(TOP_UP_SECS, int(missing / rate) + 1))


def per_second(result: dict) -> float:
    return result["requests"] * 1e6 / result["duration_us"]


def percentile(samples: list[float], percent: int) -> float:
    if len(samples) < 2:
        raise ServiceError("too few probes were answered to speak of a percentile")
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]


def summary(contender: Contender) -> dict[str, float]:
    """Medians over rounds; probes over all rounds together."""
    rounds = contender.rounds
    median = statistics.median
    row = {
        "predictions_per_s": median(map(per_second, rounds)),
        "p50_ms": median(result["p50_us"] for result in rounds) / 1e3,
        "p99_ms": median(result["p99_us"] for result in rounds) / 1e3,
    }
    for path in PROBES:
        for percent in (50, 99):
            samples = contender.probe_ms[path]
            row[f"{path[1:]}_p{percent}_ms"] = percentile(samples, percent)
    row["start_to_ready_ms"] = median(contender.start_ms)
    row["rss_start_mib"] = contender.rss_start_kib / 1024
    row["rss_end_mib"] = contender.rss_end_kib / 1024
    return row


# Key of a summary, its text, and whether more is better.
ROWS = (
    ("predictions_per_s", "predictions/s", True),
    ("p50_ms", "/predict p50, ms", False),
    ("p99_ms", "/predict p99, ms", False),
    ("health_p50_ms", "/health p50 under load, ms", False),
    ("health_p99_ms", "/health p99 under load, ms", False),
    ("ready_p50_ms", "/ready p50 under load, ms", False),
    ("ready_p99_ms", "/ready p99 under load, ms", False),
    ("start_to_ready_ms", f"start to ready, ms (median of {STARTS})", False),
    ("rss_start_mib", "RSS at start, MiB", False),
    ("rss_end_mib", "RSS at the end, MiB", False),
)


def print_alone(alone: dict[str, dict]) -> None:
    """Medians over rounds; of the processor's time, the least round as well: a busy machine adds to it."""
    print(f"\n{'alone':<14}{'body':<6}{'/s':>8}{'p50 ms':>9}{'p99 ms':>9}"
          f"{'user µs':>9}{'system':>8}{'sum':>8}{'least':>8}")
    for name, bodies in alone.items():
        for media, rounds in bodies.items():
            def middle(key: str) -> float:
                return statistics.median(part[key] for part in rounds)

            sums = [part["user_us"] + part["system_us"] for part in rounds]
            rate = statistics.median(map(per_second, rounds))
            print(f"{name:<14}{'raw' if media == RAW else 'JSON':<6}{rate:>8.0f}"
                  f"{middle('p50_us') / 1e3:>9.2f}{middle('p99_us') / 1e3:>9.2f}"
                  f"{middle('user_us'):>9.1f}{middle('system_us'):>8.1f}"
                  f"{statistics.median(sums):>8.1f}{min(sums):>8.1f}")


def machine() -> dict:
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def print_table(result: dict) -> None:
    box, plan = result["machine"], result["plan"]
    print(f"machine: {box['cpu']}, {box['cores']} cores, Linux {box['kernel']},"
          f" load {box['load_at_start']:.1f} at the start")
    print(f"load: wrk, {CONNECTIONS} connections, {WRK_THREADS} threads, JSON of {BODY_VALUES}"
          f" numbers; {plan['rounds']} x {plan['round_secs']} s each, in turn")
    picket, peer = result["picket"], result["peer"]
    print(f"\n{'':<36}{'picket':>10}{'FastAPI':>10}{'ratio':>9}")
    for key, text, more_is_better in ROWS:
        ours, theirs = picket[key], peer[key]
        ratio = ours / theirs if more_is_better else theirs / ours
        print(f"{text:<36}{ours:>10.1f}{theirs:>10.1f}{ratio:>8.1f}x")
    print(f"{'predictions until the end':<36}{picket['predictions']:>10}{peer['predictions']:>10}")
    print(f"{'failed probes':<36}{picket['probe_failures']:>10}{peer['probe_failures']:>10}")
    own = statistics.median(picket["own_start_ms"])
    print("\nratio above 1: picket is better")
    print(f"picket: start_ms {own:.0f} (its own), binary {result['binary_bytes'] / 1e6:.1f} MB")
    for name in ("picket", "peer"):
        rates = ", ".join(f"{per_second(part):.0f}" for part in result[name]["rounds"])
        print(f"{name}: {rates} predictions/s in each round")


def results(contenders: tuple[Contender, Contender], plan: Plan, box: dict, binary: Path) -> dict:
    result = {"machine": box, "plan": plan._asdict(), "binary_bytes": binary.stat().st_size}
    for key, contender in zip(("picket", "peer"), contenders):
        result[key] = summary(contender) | {
            "rounds": contender.rounds,
            "probes": {path: len(samples) for path, samples in contender.probe_ms.items()},
            "probe_failures": contender.probe_failures,
            "starts_ms": contender.start_ms,
            "own_start_ms": contender.own_start_ms,
            "predictions": contender.predictions,
        }
    return result


def daemon(name: str, picket: Path) -> Contender:
    return Contender(name, lambda directory: picket_command(picket, directory), "probe", (0,))


def contestants(picket: Path) -> tuple[Contender, Contender]:
    peer = [sys.executable, str(HERE / "peer.py"), "--model", str(MODEL), "--state-dir"]
    # uvicorn shuts down and then passes the signal on.
    return (
        daemon("picket", picket),
        Contender("the peer", lambda directory: [*peer, directory], "api", (0, -signal.SIGTERM)),
    )


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picket", type=Path, required=True, help="the daemon's binary")
    parser.add_argument("--before", type=Path, metavar="PATH",
                        help="an older binary, measured beside it")
    parser.add_argument("--quick", action="store_true", help="one short round of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    args = parser.parse_args()
    end_on_sigterm()
    if not shutil.which("wrk"):
        sys.exit("bench: wrk is missing, it makes the load (Debian: apt-get install wrk)")
    plan = QUICK if args.quick else FULL
    try:
        box = machine()
        contenders = contestants(args.picket)
        measure(contenders, plan)
        result = results(contenders, plan, box, args.picket)
        binaries = {"picket": args.picket} | ({"before": args.before} if args.before else {})
        result["alone"] = measure_alone([daemon(*named) for named in binaries.items()], plan)
        if args.json:
            args.json.write_text(json.dumps(result, indent=2) + "\n")
    except (ServiceError, OSError, http.client.HTTPException) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
    print_table(result)
    print_alone(result["alone"])


if __name__ == "__main__":
    main()
