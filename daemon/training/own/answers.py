#!/usr/bin/env python3
"""Compare a daemon's answers for a bundle's golden pictures with the logits that the bundle states.

    python3 answers.py BUNDLE http://HOST:PORT

Sends each picture with curl, as a camera's script would, and wants ONNX Runtime's class with its probability.
"""
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measure import softmax  # noqa: E402

# A probability moves by at most a quarter of what the difference of two logits does.
LOGITS_A_PROBABILITY = 2 / 4


def main() -> None:
    bundle, address = Path(sys.argv[1]), sys.argv[2]
    card = tomllib.loads((bundle / "model.toml").read_text())
    labels, defects = card["output"]["labels"], card["verdict"]["defect_labels"]
    for golden in card["golden"]:
        body = ["--data-binary", f"@{bundle / golden['image']}", "-H", "Content-Type: image/png"]
        command = ["curl", "-sS", "--fail-with-body", *body, f"{address}/predict"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"answers: {golden['image']}: {done.stdout}{done.stderr}")
        answer = json.loads(done.stdout)
        wanted = softmax(np.array([golden["logits"]]))[0]
        near = golden["tolerance"] * LOGITS_A_PROBABILITY
        label = labels[int(wanted.argmax())]
        verdict = "defect" if answer["defect"] else "no defect"
        print(golden["image"], answer["label"], answer["confidence"], verdict)
        if abs(answer["probabilities"] - wanted).max() > near:
            sys.exit(f"answers: {golden['image']}: {answer['probabilities']}, {wanted.tolist()} are right")
        # Two classes that are nearly as probable may change places.
        best, second = np.sort(wanted)[[-1, -2]]
        if answer["label"] != label and best - second > 2 * near:
            sys.exit(f"answers: {golden['image']} is {answer['label']}, ONNX Runtime says {label}")
        if answer["defect"] != (answer["label"] in defects):
            sys.exit(f"answers: {golden['image']} is {answer['label']}, which makes {verdict} wrong")


if __name__ == "__main__":
    main()
