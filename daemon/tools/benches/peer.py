#!/usr/bin/env python3
"""The peer that load.py measures beside picket: the same contract on FastAPI and ONNX Runtime.

    python3 peer.py --model FILE --state-dir DIR

What a careful Python engineer would write of the service that picket replaces: uvicorn with its
fast loop and parser, one process; the body parsed by pydantic's own JSON parser straight into
numpy; one ONNX Runtime session with one thread an inference, run from the thread pool (it releases
the GIL); every prediction a committed row in SQLite (WAL, synchronous=NORMAL). Listens on a free
port of 127.0.0.1 and says which on stderr, as picket does.
"""
import argparse
import socket
import sqlite3
import sys
import threading
import time
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic_core import from_json, to_json

sys.path.append(str(Path(__file__).resolve().parents[2] / "training"))
from reference import session  # noqa: E402

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (1, 3, 32, 32)
VALUES = 3072
THREADS_PER_INFERENCE = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    id INTEGER PRIMARY KEY,
    timestamp REAL NOT NULL,
    class INTEGER NOT NULL,
    label TEXT NOT NULL,
    confidence REAL NOT NULL,
    probabilities BLOB NOT NULL,
    inference_time_ms REAL NOT NULL
)"""


class Model:
    """One session, shared by every thread."""

    def __init__(self, path: Path):
        self._session = session(path, THREADS_PER_INFERENCE)
        (model_input,) = self._session.get_inputs()
        self._input = model_input.name
        self._kind = model_input.type
        self.probabilities(np.zeros(VALUES))

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """3072 values of 0..255 to the softmax of the logits."""
        pixels = np.rint(values)
        if self._kind == "tensor(int8)":
            tensor = (pixels - 128).astype(np.int8)
        else:
            kind = np.uint8 if self._kind == "tensor(uint8)" else np.float32
            tensor = pixels.astype(kind)
        logits = self._session.run(None, {self._input: tensor.reshape(SHAPE)})[0][0]
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()


class PredictionLog:
    """Every prediction as a row, committed before it is answered."""

    INSERT = (
        "INSERT INTO predictions"
        " (timestamp, class, label, confidence, probabilities, inference_time_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)"
    )

    def __init__(self, path: Path):
        # Autocommit: one statement is one transaction.
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(SCHEMA)
        self._lock = threading.Lock()

    def append(self, row: tuple) -> int:
        with self._lock:
            return self._database.execute(self.INSERT, row).lastrowid

    def check(self) -> None:
        """Raises sqlite3.Error when the database does not answer."""
        with self._lock:
            self._database.execute("SELECT 1").fetchone()

    def close(self) -> None:
        self._database.close()


class Service:
    """State of the process and the straight line from body to answer."""

    def __init__(self, model: Path, state_dir: Path):
        self.model = Model(model)
        self.log = PredictionLog(state_dir / "predictions.db")
        self.started = time.monotonic()
        self.predictions = 0
        self.errors = 0
        self.last_prediction: str | None = None

    def predict(self, body: bytes) -> bytes:
        values = parse(body)
        started = time.perf_counter()
        probabilities = self.model.probabilities(values)
        inference_ms = (time.perf_counter() - started) * 1e3
        index = int(probabilities.argmax())
        confidence = float(probabilities[index])
        label = LABELS[index]
        row_id = self.log.append(
            (time.time(), index, label, confidence, probabilities.tobytes(), inference_ms)
        )
        self.predictions += 1
        self.last_prediction = now()
        return to_json({
            "class": index,
            "confidence": confidence,
            "label": label,
            "probabilities": probabilities.tolist(),
            "id": row_id,
            "timing_ms": {"inference": inference_ms},
        })


def parse(body: bytes) -> np.ndarray:
    """The 3072 values of a JSON body; the caller's mistakes as 400 and 422."""
    try:
        document = from_json(body)
    except ValueError as error:
        raise HTTPException(400, f"json is malformed, {error}") from None
    try:
        values = np.array(document["data"], dtype=np.float64)
    except (TypeError, KeyError, ValueError):
        raise HTTPException(422, f"data is not an array of {VALUES} numbers") from None
    if values.shape != (VALUES,):
        raise HTTPException(422, f"data has the shape {values.shape}, ({VALUES},) is needed")
    if not (values.min() >= 0 and values.max() <= 255):
        raise HTTPException(422, "data is not within 0 to 255")
    return values


def now() -> str:
    return datetime.now(timezone.utc).isoformat()


def application(model: Path, state_dir: Path) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI):
        app.state.service = Service(model, state_dir)
        yield
        app.state.service.log.close()

    app = FastAPI(lifespan=lifespan)

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        service = request.app.state.service
        try:
            answer = await run_in_threadpool(service.predict, await request.body())
        except HTTPException:
            raise
        except Exception:
            service.errors += 1
            raise
        return Response(answer, media_type="application/json")

    @app.get("/health")
    async def health(request: Request) -> dict:
        uptime = time.monotonic() - request.app.state.service.started
        return {
            "status": "healthy",
            "service": "inference-service",
            "timestamp": now(),
            "uptime_seconds": uptime,
        }

    @app.get("/ready")
    def ready(request: Request) -> JSONResponse:
        service = request.app.state.service
        try:
            service.log.check()
        except sqlite3.Error:
            return JSONResponse({"status": "not_ready", "reason": "database_not_accessible"}, 503)
        return JSONResponse({
            "status": "ready",
            "model_loaded": True,
            "db_initialized": True,
            "predictions_served": service.predictions,
            "errors": service.errors,
            "last_prediction": service.last_prediction,
            "timestamp": now(),
        })

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="ONNX file")
    parser.add_argument("--state-dir", type=Path, required=True, help="where the database goes")
    args = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    address = "{}:{}".format(*listener.getsockname())
    print(f'listening listener="api" addr={address}', file=sys.stderr, flush=True)
    config = uvicorn.Config(
        application(args.model, args.state_dir),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
