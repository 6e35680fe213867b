#!/usr/bin/env python3
"""Give a running daemon predictions to make and records to keep.

    python3 fill.py API PROBE [--predictions N] [--records N]

API and PROBE are HOST:PORT of its listeners. Standard library alone, so that every rig can use it.
"""
import argparse
import http.client
import json
import re
import sys
import threading
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[2] / "tests/data/cifar10/cat.png"
CONNECTIONS = 4
# What POST /log takes at once, and when filling is given up.
BATCH_RECORDS = 1_000
RECORDS_MAX = 20_000_000
ANSWER_TIMEOUT_SECS = 60


class Refused(Exception):
    """An answer that was not 200, on one line."""


class Client:
    """One kept-alive connection."""

    def __init__(self, address: str):
        self._connection = http.client.HTTPConnection(address, timeout=ANSWER_TIMEOUT_SECS)

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
        self._connection.request(method, path, body or None, {"Content-Type": kind} if kind else {})
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise Refused(f"{method} {path}: {response.status} {content.decode(errors='replace').strip()}")
        return content


def predict(address: str, count: int) -> None:
    """`count` predictions of one picture, shared by the connections."""
    picture, failures = PICTURE.read_bytes(), []

    def share(of: int) -> None:
        try:
            client = Client(address)
            for _ in range(of):
                client.ask("POST", "/predict", picture, "image/png")
        except (OSError, http.client.HTTPException, Refused) as error:
            failures.append(error)

    shares = [count // CONNECTIONS + (one < count % CONNECTIONS) for one in range(CONNECTIONS)]
    threads = [threading.Thread(target=share, args=(of,)) for of in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def batch() -> bytes:
    """Records as another device posts them, one like the other but for their numbers."""
    records = [
        {
            "image_id": f"img-{number}",
            "timestamp": 1_795_000_000 + number / 8,
            "model_version": "v3",
            "model_name": "scratches",
            "inference_time_ms": 12.25,
            "detections": [{"class": "scratch", "confidence": 0.9, "bbox": [1, 2, 3, 4]}],
            "defect_detected": True,
            "confidence_scores": [0.9],
        }
        for number in range(BATCH_RECORDS)
    ]
    whole = {"predictions": records, "batch_size": len(records), "timestamp": 1_795_000_200.0}
    return json.dumps(whole | {"edge_device_id": "line-4"}).encode()


def post(api: str, enough) -> int:
    """Posts batches until enough(records posted) says so; returns how many records they were."""
    client, body, posted = Client(api), batch(), 0
    while not enough(posted):
        if posted >= RECORDS_MAX:
            raise Refused(f"{posted} records posted and the log is still not full")
        client.ask("POST", "/log", body, "application/json")
        posted += BATCH_RECORDS
    return posted


def metric(probe: str, name: str) -> float:
    text = Client(probe).ask("GET", "/metrics").decode()
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("api")
    parser.add_argument("probe")
    parser.add_argument("--predictions", type=int, default=0)
    parser.add_argument("--records", type=int, default=0, help="posted to the log, in thousands")
    args = parser.parse_args()
    try:
        predict(args.api, args.predictions)
        post(args.api, lambda posted: posted >= args.records)
        print(f"{metric(args.probe, 'picket_log_records'):.0f} records in the log")
    except (OSError, http.client.HTTPException, Refused) as error:
        sys.exit(f"fill: {error}")


if __name__ == "__main__":
    main()
