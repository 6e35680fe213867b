#!/usr/bin/env python3
"""Measure inference alone: each of Picket's kernels, stock tract and ONNX Runtime, in turn.

    python3 model.py --picket PATH [--model FILE] [--rounds N] [--quick] [--json FILE]

Every round runs each contender once on the same file with one thread, batch 1, so that noise of the
machine meets all of them; a ratio compares the two medians of one round. Picket's numbers are those
of `picket model bench`; ONNX Runtime runs in this process with its input and output bound, which
spares it the copies of a plain run().
"""
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "model"))

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import time
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime

from accuracy import MODEL

ROUNDS = 7
ITERATIONS = 4000
# A stock int8 tract without VNNI takes milliseconds for an image.
BENCH_TIMEOUT_SECS = 300
WARM_UP_RUNS = 20


class Round(NamedTuple):
    min_us: float
    median_us: float
    p99_us: float
    load_ms: float


def kernels(picket: Path) -> list[str]:
    """Those that this CPU has: what the refusal of an unknown one says."""
    command = [picket, "model", "bench", "--kernel", "?"]
    refusal = subprocess.run(command, capture_output=True, text=True).stderr
    found = re.search(r"this CPU has ([a-z0-9, ]+), and not", refusal)
    if not found:
        sys.exit(f"bench: {picket} does not say which kernels this CPU has: {refusal}")
    return found[1].split(", ")


def run_picket(picket: Path, model: Path, kernel: str, iterations: int) -> Round:
    command = [picket, "model", "bench", "--json", "--kernel", kernel, "--model-path", model,
               "--iterations", str(iterations)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=BENCH_TIMEOUT_SECS)
    if result.returncode != 0:
        sys.exit(f"bench: {result.stderr.strip()}")
    answer = json.loads(result.stdout)
    if answer["kernel"] != kernel:
        sys.exit(f"bench: asked for {kernel}, {answer['kernel']} ran: is nothing in it for ours?")
    us = answer["us"]
    return Round(us["min"], us["median"], us["p99"], answer["load_ms"])


def run_onnxruntime(model: Path, iterations: int) -> Round:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    started = time.perf_counter()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed, kinds = session.get_inputs()[0], {"tensor(int8)": np.int8, "tensor(uint8)": np.uint8}
    pixels = (np.arange(3 * 32 * 32) * 7 % 256).astype(np.uint8)
    tensor = pixels.view(kinds.get(feed.type, np.uint8)).reshape(1, 3, 32, 32)
    if feed.type == "tensor(float)":
        tensor = tensor.astype(np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input(feed.name, tensor)
    binding.bind_output(session.get_outputs()[0].name)
    session.run_with_iobinding(binding)
    load_ms = (time.perf_counter() - started) * 1e3
    for _ in range(WARM_UP_RUNS):
        session.run_with_iobinding(binding)
    times = []
    for _ in range(iterations):
        start = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        times.append((time.perf_counter_ns() - start) / 1e3)
    times.sort()
    at = lambda share: times[round((len(times) - 1) * share)]
    return Round(at(0), at(0.5), at(0.99), load_ms)


def products(model: Path) -> int:
    """Multiply-accumulates of all convolutions for one image."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in [*graph.value_info, *graph.output]}
    weights = {constant.name: list(constant.dims) for constant in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type in ("QLinearConv", "Conv"):
            kernel = weights[node.input[3 if node.op_type == "QLinearConv" else 1]]
            total += int(np.prod(kernel)) * int(np.prod(shapes[node.output[0]][2:]))
    return total


def summary(rounds: list[Round], against: list[Round], count: int) -> dict[str, float]:
    median = statistics.median
    median_us = median(result.median_us for result in rounds)
    return {
        "min_us": min(result.min_us for result in rounds),
        "median_us": median_us,
        "p99_us": median(result.p99_us for result in rounds),
        "gmac_per_s": count / median_us / 1e3,
        "load_ms": median(result.load_ms for result in rounds),
        "ratio": median(ours.median_us / theirs.median_us for ours, theirs in zip(rounds, against)),
    }


def machine() -> str:
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return (f"{cpu[1] if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores,"
            f" load {os.getloadavg()[0]:.1f} at the start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picket", type=Path, required=True, help="the daemon's binary")
    parser.add_argument("--model", type=Path, default=MODEL, help="default: the embedded one")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    args = parser.parse_args()
    rounds, iterations = (1, 300) if args.quick else (args.rounds, ITERATIONS)
    box, count = machine(), products(args.model)
    names = kernels(args.picket)
    results: dict[str, list[Round]] = {name: [] for name in [*names, "onnxruntime"]}
    for _ in range(rounds):
        for name in names:
            results[name].append(run_picket(args.picket, args.model, name, iterations))
        results["onnxruntime"].append(run_onnxruntime(args.model, iterations))
    rows = {name: summary(result, results["onnxruntime"], count)
            for name, result in results.items()}
    print(f"machine: {box}")
    print(f"{args.model.name}: {count / 1e6:.1f} million products in convolutions, 1 thread,"
          f" {rounds} rounds of {iterations} images, onnxruntime {onnxruntime.__version__}\n")
    print(f"{'':<13}{'min µs':>9}{'median µs':>11}{'p99 µs':>9}{'GMAC/s':>8}{'load ms':>9}{'ratio':>7}")
    for name, row in rows.items():
        print(f"{name:<13}{row['min_us']:>9.1f}{row['median_us']:>11.1f}{row['p99_us']:>9.1f}"
              f"{row['gmac_per_s']:>8.1f}{row['load_ms']:>9.1f}{row['ratio']:>7.2f}")
    print("\nratio: median time over that of onnxruntime in the same round; load: to the first answer")
    if args.json:
        result = {"machine": box, "model": args.model.name, "products": count, "summary": rows,
                  "rounds": {name: [part._asdict() for part in parts]
                             for name, parts in results.items()}}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
