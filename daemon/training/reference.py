"""ONNX Runtime as the reference that Picket's answers are held to."""
from pathlib import Path

import onnxruntime

# On x86 without VNNI its path for u8 activations and s8 weights adds products in pairs of 16 bits, which
# saturate: 80.5 % right on a machine with AVX2 where the file's arithmetic has 92.1 %. With this it makes
# the weights u8 there, which is exact; on other machines it changes nothing.
EXACT = ("session.x64quantprecision", "1")


def session(model: Path | bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """On the CPU, with the answers that ONNX defines; as many threads as cores unless told."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT)
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
