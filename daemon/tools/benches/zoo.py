#!/usr/bin/env python3
"""Measure the nets that people bring: Picket beside ONNX Runtime and OpenVINO, in turn.

    python3 zoo.py --picket PATH [--nets NAME...] [--forms FORM...] [--rounds N] [--kernel NAME]
                   [--json FILE]

Every round runs each engine once on each net, in a process of its own, with one thread and batch 1.
Times are minima over all rounds: other load on the machine only adds to them. ONNX Runtime's is the
better of the u8 and the i8 form of the file, OpenVINO's that of the u8 one. A last column says on how
many pictures Picket and ONNX Runtime agree about the class. LiteRT reads no ONNX: `./dev bench model`
runs it on the embedded network and on MLPerf Tiny's ResNet-8.
"""
import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import zoo_nets

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".cache/bench/zoo"
FORMS = ["qdq-u8", "qdq-s8", "qop-u8"]
ROUNDS = 5
# So much time for each engine and net in a round.
RUN_SECS = 0.7
TIMEOUT_SECS = 600
PICTURES = 100
SEED = 77

Times = dict[tuple[str, str, str], list[float]]


def run(command: list[Any]) -> str:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            timeout=TIMEOUT_SECS)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {result.stderr.strip()[-300:]}")
    return result.stdout


def bundle(net: str, form: str) -> Path:
    path = CACHE / f"{net}.{form}"
    if not (path / "model.toml").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        zoo_nets.write(str(CACHE), net, forms=(form,))
    return path


class Engine:
    """One engine on one file: how many images fit into a round, and its least time."""

    def __init__(self, command: list[Any], behind: list[Any]) -> None:
        self.command, self.behind = command, behind
        self.images, self.least, self.load_ms = 0, float("inf"), float("nan")

    def round(self) -> None:
        def measure(images: int) -> dict[str, Any]:
            return json.loads(run([*self.command, images, *self.behind]))

        if self.images == 0:
            self.images = max(20, min(4000, int(RUN_SECS * 1e6 / measure(5)["us"]["median"])))
        result = measure(self.images)
        self.least = min(self.least, result["us"]["min"])
        self.load_ms = min(self.load_ms, result["load_ms"]) if self.load_ms == self.load_ms \
            else result["load_ms"]


def engines(args: argparse.Namespace, net: str) -> dict[str, Engine]:
    kernel = ["--kernel", args.kernel] if args.kernel else []
    found = {}
    for form in args.forms:
        command = [args.picket, "model", "bench", "--json", *kernel, "--model-path",
                   bundle(net, form), "--iterations"]
        found[f"picket {form}"] = Engine(command, [])
    peer = [sys.executable, HERE / "engines.py"]
    for form in ("qdq-u8", "qdq-s8"):
        file = bundle(net, form) / "model.onnx"
        found[f"onnxruntime {form}"] = Engine([*peer, "onnxruntime", file], [])
    if importlib.util.find_spec("openvino"):
        file = bundle(net, "qdq-u8") / "model.onnx"
        found["openvino"] = Engine([*peer, "openvino", file], [])
    return found


def agreement(args: argparse.Namespace, net: str) -> float:
    """The share of pictures to which Picket and ONNX Runtime give the same class."""
    path, (_, size, classes, scale) = bundle(net, "qdq-u8"), zoo_nets.NETS[net]
    pictures, _ = zoo_nets.pictures(PICTURES, *size, seed=SEED, protos=min(classes, 40))
    raw = CACHE / f"{net}.raw"
    raw.write_bytes(pictures.tobytes())
    lines = run([args.picket, "model", "logits", raw, "--model-path", path]).splitlines()
    own = np.array([json.loads(line) for line in lines]).argmax(1)
    tensors = zoo_nets.tensor(pictures, scale)
    session = zoo_nets.session(str(path / "model.onnx"))
    name = session.get_inputs()[0].name
    peer = [int(session.run(None, {name: tensors[at:at + 1]})[0].argmax()) for at in range(PICTURES)]
    return float(np.mean(own == peer))


def row(net: str, found: dict[str, Engine]) -> dict[str, Any]:
    least = {name: engine.least for name, engine in found.items() if engine.least < float("inf")}
    own = {name: us for name, us in least.items() if name.startswith("picket")}
    runtime = [us for name, us in least.items() if name.startswith("onnxruntime")]
    best = min([*runtime, *(us for name, us in least.items() if name == "openvino")])
    return {
        "net": net,
        "us": least,
        "load_ms": found[next(iter(own))].load_ms,
        "of_onnxruntime": min(own.values()) / min(runtime),
        "of_best": min(own.values()) / best,
    }


def report(rows: list[dict[str, Any]], forms: list[str]) -> None:
    heads = [*(f"picket {form}" for form in forms), "onnxruntime qdq-u8", "onnxruntime qdq-s8",
             "openvino"]
    print(f"{'least us':<18}" + "".join(f"{head.replace('onnxruntime', 'ort'):>15}" for head in heads)
          + f"{'of ort':>8}{'of best':>9}{'load ms':>9}{'agree':>7}")
    for line in rows:
        times = "".join(f"{line['us'][head]:>15.1f}" if head in line["us"] else f"{'-':>15}"
                        for head in heads)
        print(f"{line['net']:<18}{times}{line['of_onnxruntime']:>8.2f}{line['of_best']:>9.2f}"
              f"{line['load_ms']:>9.1f}{line['agree']:>7.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picket", type=Path, required=True)
    parser.add_argument("--nets", nargs="+", default=list(zoo_nets.NETS))
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--kernel", help="another path than the fastest")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = {net: engines(args, net) for net in args.nets}
    for _ in range(args.rounds):
        for net, contenders in found.items():
            for name, engine in list(contenders.items()):
                try:
                    engine.round()
                except RuntimeError as error:
                    print(f"{name} is left out on {net}: {error}", file=sys.stderr)
                    del contenders[name]
    rows = [{**row(net, found[net]), "agree": agreement(args, net)} for net in args.nets]
    report(rows, args.forms)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
