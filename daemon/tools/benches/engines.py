#!/usr/bin/env python3
"""Run one engine alone on one model, for model.py: its time, its load and its memory.

    python3 engines.py onnxruntime|litert|openvino MODEL IMAGES

One thread, batch 1, input and output bound beforehand, which spares both engines the copies of a plain
call. Memory is that of the whole process, and what of it Python had before the engine.
"""
import json
import sys
import time
from pathlib import Path
from typing import Callable

import numpy as np

WARM_UP_RUNS = 20
Run = Callable[[], object]


def resident_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


def pixels(element: type, channels_last: bool, size: tuple[int, int, int]) -> np.ndarray:
    """`picket model bench`'s image: (7 i) mod 256, as the model's element type has it."""
    image = (np.arange(np.prod(size)) * 7 % 256).astype(np.uint8).reshape(1, *size)
    image = image if channels_last else image.transpose(0, 3, 1, 2)
    return np.ascontiguousarray((image ^ 0x80).view(np.int8) if element is np.int8
                                else image.astype(element))


def has_vnni() -> bool:
    flags = Path("/proc/cpuinfo").read_text().split()
    return "avx512_vnni" in flags or "avx_vnni" in flags


def onnxruntime(model: str) -> tuple[Run, str]:
    import onnxruntime as engine

    options = engine.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Right answers on x86 without VNNI as well: daemon/training/reference.py. With VNNI they are right anyway,
    # and QDQ files take half the time.
    if not has_vnni():
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = engine.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    element = {"tensor(int8)": np.int8, "tensor(float)": np.float32}.get(feed.type, np.uint8)
    binding = session.io_binding()
    _, channels, height, width = feed.shape
    size = (height, width, channels)
    binding.bind_cpu_input(feed.name, pixels(element, channels_last=False, size=size))
    binding.bind_output(session.get_outputs()[0].name)
    return (lambda: session.run_with_iobinding(binding)), engine.__version__


def litert(model: str) -> tuple[Run, str]:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()
    feed = interpreter.get_input_details()[0]
    size = tuple(feed["shape"][1:])
    interpreter.set_tensor(feed["index"], pixels(feed["dtype"], channels_last=True, size=size))
    return interpreter.invoke, version("ai-edge-litert")


def openvino(model: str) -> tuple[Run, str]:
    import openvino as engine

    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    read = engine.Core().read_model(model)
    channels, height, width = (dim.get_length() for dim in list(read.inputs[0].partial_shape)[1:])
    read.reshape([1, channels, height, width])
    request = engine.Core().compile_model(read, "CPU", options).create_infer_request()
    element = np.dtype(read.inputs[0].element_type.to_dtype()).type
    image = pixels(element, channels_last=False, size=(height, width, channels))
    request.set_input_tensor(engine.Tensor(image, shared_memory=True))
    return request.infer, engine.__version__


ENGINES = {"onnxruntime": onnxruntime, "litert": litert, "openvino": openvino}


def main() -> None:
    engine, model, images = sys.argv[1:]
    base = resident_bytes()
    # Its import is Python's; what comes then is the engine's.
    __import__({"litert": "ai_edge_litert.interpreter"}.get(engine, engine))
    started = time.perf_counter()
    run, version = ENGINES[engine](model)
    run()
    load_ms = (time.perf_counter() - started) * 1e3
    for _ in range(WARM_UP_RUNS):
        run()
    times = []
    for _ in range(int(images)):
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e3)
    times.sort()
    at = lambda share: times[round((len(times) - 1) * share)]
    print(json.dumps({"version": version, "load_ms": load_ms,
                      "us": {"min": at(0), "median": at(0.5), "p99": at(0.99)},
                      "rss_bytes": resident_bytes(), "python_bytes": base}))


if __name__ == "__main__":
    main()
