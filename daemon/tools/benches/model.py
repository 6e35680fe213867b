#!/usr/bin/env python3
"""Measure inference alone: each of Picket's kernels, stock tract, ONNX Runtime, LiteRT and OpenVINO, in turn.

    python3 model.py --picket PATH --kernels PATH [--model FILE] [--rounds N] [--quick] [--json FILE]

Every round runs each contender once, in a process of its own, with one thread and batch 1, so that
noise of the machine meets all of them; a ratio compares medians of one round. All run the same
network: LiteRT as the .tflite that to_tflite.py makes of it, OpenVINO as its QDQ twin, where one lies
beside it. Beside them LiteRT runs MLPerf Tiny's own
ResNet-8, another and smaller network, as a landmark. Last, Picket runs the same images on one thread
and on all cores, with one model in memory.
"""
import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import to_tflite

HERE = Path(__file__).resolve().parent
MODEL = HERE.parents[1] / "crates/classifier/embedded/cifar10-int8.onnx"
CACHE = HERE.parents[2] / ".cache/bench"

ROUNDS = 7
ITERATIONS = 4000
# The slowest contenders take a hundred times as long as the fastest: no more of each than this.
RUN_SECS = 1.0
BENCH_TIMEOUT_SECS = 300

# mlcommons/tiny, Apache-2.0; 12.5 million products.
MLPERF_URL = ("https://raw.githubusercontent.com/mlcommons/tiny/"
              "25ecd962b8ba901a2f93af10697a359758f5b4ca/benchmark/training/image_classification/"
              "trained_models/pretrainedResnet_quant.tflite")
MLPERF_SHA256 = "3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415"
MLPERF_PRODUCTS = 12_501_632
DOWNLOAD_TIMEOUT_SECS = 20

Result = dict[str, Any]


def run_json(command: list[str | Path]) -> Result:
    result = subprocess.run(command, capture_output=True, text=True, timeout=BENCH_TIMEOUT_SECS)
    if result.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))}: {result.stderr.strip()}")
    return json.loads(result.stdout)


class Contender:
    def __init__(self, name: str, command: list[str | Path], products: int, peak: str) -> None:
        self.name, self.command, self.products, self.peak = name, command, products, peak
        self.rounds: list[Result] = []
        self.images = 20

    def run(self, limit: int) -> None:
        if not self.rounds:
            # A first look at its speed, whose numbers don't count.
            us = run_json([*self.command, str(self.images)])["us"]["median"]
            self.images = max(20, min(limit, int(RUN_SECS * 1e6 / us)))
        self.rounds.append(run_json([*self.command, str(self.images)]))

    def medians(self) -> list[float]:
        return [result["us"]["median"] for result in self.rounds]


def kernels(picket: Path) -> list[str]:
    """Those that this CPU has: what the refusal of an unknown one says."""
    command = [picket, "model", "bench", "--kernel", "?"]
    refusal = subprocess.run(command, capture_output=True, text=True).stderr
    found = re.search(r"this CPU has ([a-z0-9, ]+), and not", refusal)
    if not found:
        sys.exit(f"bench: {picket} does not say which kernels this CPU has: {refusal}")
    return found[1].split(", ")


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


def tflite(model: Path) -> Path | None:
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"{hashlib.sha256(model.read_bytes()).hexdigest()[:12]}.tflite"
    try:
        file.write_bytes(to_tflite.convert(model))
    except (ValueError, StopIteration, KeyError) as error:
        print(f"litert is left out: {model.name} is no plain chain of QLinearConv: {error}")
        return None
    return file


def mlperf(given: Path | None) -> Path | None:
    file = given or CACHE / "mlperf-tiny-resnet8.tflite"
    if not file.exists():
        try:
            with urllib.request.urlopen(MLPERF_URL, timeout=DOWNLOAD_TIMEOUT_SECS) as answer:
                file.write_bytes(answer.read())
        except OSError as error:
            print(f"MLPerf Tiny's ResNet-8 is left out: {MLPERF_URL} can't be reached: {error}")
            return None
    if hashlib.sha256(file.read_bytes()).hexdigest() != MLPERF_SHA256:
        sys.exit(f"bench: {file} is not the file that it should be")
    return file


def contenders(args: argparse.Namespace) -> list[Contender]:
    count = products(args.model)
    names = kernels(args.picket)
    best = names[-1]
    found = []
    for name in names:
        command = [args.picket, "model", "bench", "--json", "--nodes", "--kernel", name,
                   "--model-path", args.model, "--iterations"]
        found.append(Contender(name, command, count, name if name != "tract" else best))
    engine = [sys.executable, HERE / "engines.py"]
    found.append(Contender("onnxruntime", [*engine, "onnxruntime", args.model], count, best))
    twin = args.model.with_name(f"{args.model.stem}-qdq.onnx")
    if twin.exists() and importlib.util.find_spec("openvino"):
        found.append(Contender("openvino", [*engine, "openvino", twin], count, best))
    if file := tflite(args.model):
        found.append(Contender("litert", [*engine, "litert", file], count, best))
    if file := mlperf(args.mlperf):
        found.append(Contender("litert resnet8", [*engine, "litert", file], MLPERF_PRODUCTS, best))
    return found


def convolutions(result: Result) -> float | None:
    """GMAC/s of the convolutions alone, where each node was timed."""
    nodes = [node for node in result.get("nodes", []) if node["products"]]
    if not nodes:
        return None
    return sum(node["products"] for node in nodes) / sum(node["us"] for node in nodes) / 1e3


def summary(contender: Contender, rivals: list[Contender], peaks: list[Result]) -> Result:
    median = statistics.median
    rounds = contender.rounds
    median_us = median(contender.medians())
    peak = max(round_peaks.get(contender.peak, float("nan")) for round_peaks in peaks)
    rate = contender.products / median_us / 1e3
    alone = [convolutions(result) for result in rounds]
    best_rival = [min(times) for times in zip(*(rival.medians() for rival in rivals))]
    row = {
        "images": contender.images,
        "min_us": min(result["us"]["min"] for result in rounds),
        "median_us": median_us,
        "p99_us": median(result["us"]["p99"] for result in rounds),
        "gmac_per_s": rate,
        "of_peak": rate / peak,
        "convolutions_of_peak": median(alone) / peak if None not in alone else None,
        "load_ms": median(result["load_ms"] for result in rounds),
        "rss_mib": median(result["rss_bytes"] for result in rounds) / 2**20,
        "ratio": median(own / best for own, best in zip(contender.medians(), best_rival)),
    }
    if "python_bytes" in rounds[0]:
        row["python_mib"] = median(result["python_bytes"] for result in rounds) / 2**20
    return row


def machine() -> str:
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return (f"{cpu[1] if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores,"
            f" load {os.getloadavg()[0]:.1f} at the start")


def scaling(args: argparse.Namespace, rounds: int, images: int) -> list[Result]:
    """The same model on one thread and on as many as there are cores, in turn."""
    cores = len(os.sched_getaffinity(0))
    runs: dict[int, list[Result]] = {threads: [] for threads in sorted({1, 2, cores})
                                     if threads <= cores}
    for _ in range(rounds):
        for threads, results in runs.items():
            results.append(run_json([args.picket, "model", "bench", "--json", "--model-path",
                                     args.model, "--threads", str(threads), "--iterations",
                                     str(images * threads)]))
    rates = {threads: [result["images_per_s"] for result in results]
             for threads, results in runs.items()}
    return [{"threads": threads,
             "images_per_s": statistics.median(rates[threads]),
             "speedup": statistics.median(many / one for many, one in zip(rates[threads], rates[1])),
             "rss_mib": statistics.median(r["rss_bytes"] for r in results) / 2**20}
            for threads, results in runs.items()]


def share(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value * 100:.0f} %"


def report(rows: dict[str, Result], peaks: list[Result], scaled: list[Result]) -> None:
    peak = {name: max(round_peaks[name] for round_peaks in peaks) for name in peaks[0]}
    print("peak of this core, GMAC/s: "
          + ", ".join(f"{name} {rate:.0f}" for name, rate in peak.items()) + "\n")
    print(f"{'':<15}{'min µs':>9}{'median µs':>11}{'p99 µs':>9}{'GMAC/s':>8}{'of peak':>9}"
          f"{'conv':>7}{'load ms':>9}{'MiB':>7}{'ratio':>7}")
    for name, row in rows.items():
        print(f"{name:<15}{row['min_us']:>9.1f}{row['median_us']:>11.1f}{row['p99_us']:>9.1f}"
              f"{row['gmac_per_s']:>8.1f}{share(row['of_peak']):>9}"
              f"{share(row['convolutions_of_peak']):>7}{row['load_ms']:>9.1f}"
              f"{row['rss_mib']:>7.1f}{row['ratio']:>7.2f}")
    python = next((row["python_mib"] for row in rows.values() if "python_mib" in row), 0)
    print("\nof peak: of the kernel's instruction, or of the fastest; conv: the convolutions alone;"
          f"\nload: to the first answer; MiB: the whole process, of which Python {python:.0f};"
          "\nratio: median time over that of the fastest of onnxruntime, litert and openvino, in the same round\n")
    print(f"{'threads':>7}{'images/s':>10}{'speed-up':>10}{'MiB':>7}")
    for row in scaled:
        print(f"{row['threads']:>7}{row['images_per_s']:>10.0f}{row['speedup']:>10.2f}"
              f"{row['rss_mib']:>7.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picket", type=Path, required=True, help="the daemon's binary")
    parser.add_argument("--kernels", type=Path, required=True, help="picket-kernels' binary")
    parser.add_argument("--model", type=Path, default=MODEL, help="default: the embedded one")
    parser.add_argument("--mlperf", type=Path, metavar="FILE", help="a copy of its ResNet-8, int8")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    args = parser.parse_args()
    rounds, limit = (1, 300) if args.quick else (args.rounds, ITERATIONS)
    box, all_of_them = machine(), contenders(args)
    peaks = []
    for _ in range(rounds):
        peaks.append(run_json([args.kernels, "peak"]))
        for contender in all_of_them:
            contender.run(limit)
    rivals = [one for one in all_of_them if one.name in ("onnxruntime", "litert", "openvino")]
    rows = {one.name: summary(one, rivals, peaks) for one in all_of_them}
    scaled = scaling(args, rounds, limit)
    versions = ", ".join(f"{one.name} {one.rounds[0]['version']}" for one in rivals)
    print(f"machine: {box}")
    print(f"{args.model.name}: {products(args.model) / 1e6:.1f} million products in convolutions,"
          f" 1 thread, {rounds} rounds of up to {limit} images; {versions}")
    report(rows, peaks, scaled)
    if args.json:
        result = {"machine": box, "model": args.model.name, "peaks": peaks, "summary": rows,
                  "scaling": scaled, "rounds": {one.name: one.rounds for one in all_of_them}}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
