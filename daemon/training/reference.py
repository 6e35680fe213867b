"""ONNX Runtime as the reference that Picket's answers are held to."""
from pathlib import Path

import numpy as np
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


def logits_of(model: Path | bytes, images: np.ndarray) -> np.ndarray:
    """Logits [N, classes] for images as the model takes them, some hundreds at once."""
    reference = session(model)
    (entry,) = reference.get_inputs()
    batches = [images[at : at + 250] for at in range(0, len(images), 250)]
    return np.concatenate([reference.run(None, {entry.name: batch})[0] for batch in batches])
