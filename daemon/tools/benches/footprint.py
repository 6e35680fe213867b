#!/usr/bin/env python3
"""Measure what the daemon takes of a box: bytes, memory, milliseconds until it is ready.

    python3 footprint.py --picket PATH

Starts daemons of its own with the default limits, makes predictions, fills the log until its retention
has begun, and prints the rows of docs/footprint.md's table.
"""
import argparse
import http.client
import re
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[2] / "training"))

from accuracy import ServiceError, end_on_sigterm, picket_command, serve
from fill import BATCH_RECORDS, Refused, metric, post, predict
from load import wait_until_ready

PREDICTIONS = 100_000
STARTS = 9


def rss_mib(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


class Daemon(NamedTuple):
    """One that is ready."""

    api: str
    probe: str
    pid: int
    # From exec until /ready said 200.
    ready_ms: float


@contextmanager
def started(picket: Path, state: str) -> Iterator[Daemon]:
    with serve(picket_command(picket, state)) as service:
        api, probe = service.address("api"), service.address("probe")
        wait_until_ready(service, probe)
        ready_ms = (time.monotonic() - service.started) * 1e3
        yield Daemon(api, probe, service.process.pid, ready_ms)


def start_ms(picket: Path, state: str) -> float:
    """Median of some starts, from exec until /ready says 200."""
    times = []
    for _ in range(STARTS):
        with started(picket, state) as daemon:
            times.append(daemon.ready_ms)
    return statistics.median(times)


def measure(picket: Path) -> None:
    row("binary", f"{picket.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory(prefix="picket-footprint-") as state:
        row("start to ready, empty log", f"{start_ms(picket, state):.0f} ms")
        with started(picket, state) as daemon:
            row("RSS at start", f"{rss_mib(daemon.pid):.1f} MiB")
            say(f"{PREDICTIONS} predictions")
            predict(daemon.api, PREDICTIONS)
            row(f"RSS after {PREDICTIONS:,} predictions", f"{rss_mib(daemon.pid):.1f} MiB")
            limit = metric(daemon.probe, "picket_log_max_bytes")
            say("filling the log")
            had = metric(daemon.probe, "picket_log_records")
            seen = []

            def full(posted: int) -> bool:
                # Retention has begun when fewer are there than came.
                seen.append(metric(daemon.probe, "picket_log_records"))
                return seen[-1] < had + posted - BATCH_RECORDS

            posted = post(daemon.api, full)
            row(f"a full log, {limit / 1e6:.0f} MB", f"{seen[-1]:,.0f} records, {posted:,.0f} posted")
            row("RSS with it", f"{rss_mib(daemon.pid):.1f} MiB")
        row("start to ready, full log", f"{start_ms(picket, state):.0f} ms")
        with started(picket, state) as daemon:
            row("RSS at a start with it", f"{rss_mib(daemon.pid):.1f} MiB")
            predict(daemon.api, PREDICTIONS)
            row(f"and after {PREDICTIONS:,} more predictions", f"{rss_mib(daemon.pid):.1f} MiB")


def row(what: str, value: str) -> None:
    print(f"| {what} | {value} |", flush=True)


def say(text: str) -> None:
    print(f"footprint: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picket", type=Path, required=True, help="the daemon's binary")
    args = parser.parse_args()
    end_on_sigterm()
    try:
        measure(args.picket)
    except (ServiceError, OSError, http.client.HTTPException, Refused) as error:
        sys.exit(f"footprint: {error}")


if __name__ == "__main__":
    main()
