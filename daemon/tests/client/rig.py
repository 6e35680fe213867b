#!/usr/bin/env python3
"""A device's own client against a real daemon, through outages.

    rig.py --picket FILE

The client is one that knows nothing of Picket: aiohttp, batches with an ISO timestamp without zone, absent
things as null, boxes of any length, scores a rounding step beyond 1. It keeps what it could not send and
sends all of it in one batch once the daemon answers again. One line `ok NAME: what was seen` for each check.
"""
import argparse
import asyncio
import contextlib
import datetime
import json
import pathlib
import re
import signal
import subprocess
import tempfile

import aiohttp

# What the client saves up at most, and what the daemon takes at once.
BACKLOG_MAX = 20_000

# Seconds that one request, a start and a stop may take.
REQUEST_SECS = 60
PATIENCE_SECS = 60


class Failed(Exception):
    pass


def expect(holds, what):
    if not holds:
        raise Failed(what)


class Daemon:
    """picket serve on a state directory, on ports of the kernel's choice."""

    def __init__(self, picket, state):
        self.picket, self.state, self.process, self.api = picket, state, None, None

    async def start(self):
        command = [self.picket, "serve", "--state-dir", str(self.state), "--message-format", "json",
                   "--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        await asyncio.wait_for(self._hear(), PATIENCE_SECS)
        self.reader = asyncio.create_task(self._drain())

    async def _hear(self):
        while line := await self.process.stderr.readline():
            said = json.loads(line)
            if said["message"] == "listening" and said["fields"]["listener"] == "api":
                self.api = said["fields"]["addr"]
            if said["message"] == "ready":
                return
        raise Failed("the daemon ended while starting")

    async def _drain(self):
        while await self.process.stderr.readline():
            pass

    async def end(self, how):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        await asyncio.wait_for(self.process.wait(), PATIENCE_SECS)
        await self.reader
        return self.process.returncode


class Client:
    """Keeps what it could not send."""

    def __init__(self, session, device, named):
        self.session, self.device, self.named = session, device, named
        self.made, self.backlog, self.batches, self.unsent = 0, [], 0, None

    def see(self, count):
        for _ in range(count):
            self.made += 1
            number = self.made
            self.backlog.append({
                "image_id": f"{self.device}-{number}", "timestamp": 1_769_614_245.25 + number,
                "model_version": "1.2.0", "model_name": "defects", "inference_time_ms": 14.75,
                "detections": [{"class": "scratch", "confidence": 1.0000001, "uncertain": None,
                                "bbox": [0.1] * (number % 7), "area": 3}],
                "defect_detected": number % 3 == 0, "confidence_scores": [0.5, 1.0000001, -1e-9],
                "processing_notes": None, "edge_device_id": None, "line": {"shift": 2},
            })

    async def send(self, address):
        """One attempt with all that is there. True once the daemon has taken it."""
        if self.unsent is None:
            records, self.backlog = self.backlog[:BACKLOG_MAX], self.backlog[BACKLOG_MAX:]
            self.batches += 1
            self.unsent = {"predictions": records, "batch_size": len(records),
                           "timestamp": datetime.datetime.now().isoformat(),
                           "edge_device_id": self.device, "firmware": None}
            if self.named:
                self.unsent["batch_id"] = f"{self.device}/{self.batches}"
        try:
            async with self.session.post(f"http://{address}/log", json=self.unsent) as answer:
                body = await answer.text()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
            return False
        expect(answer.status in (200, 503), f"{answer.status}: {body}")
        if answer.status == 503:
            return False
        stored = json.loads(body)
        expect(stored["status"] == "success", body)
        expect(stored["predictions_stored"] == self.unsent["batch_size"], body)
        self.unsent = None
        return True


async def swallow_answers(address):
    """A way to the daemon that breaks off before the answer comes back."""
    host, port = address.rsplit(":", 1)

    async def pass_on(client, to_client):
        from_daemon, daemon = await asyncio.open_connection(host, int(port))
        head = await client.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        daemon.write(head + await client.readexactly(length))
        await daemon.drain()
        await from_daemon.read(1)
        daemon.close()
        to_client.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0, limit=1 << 26)
    return server, "127.0.0.1:%d" % server.sockets[0].getsockname()[1]


async def total(session, daemon):
    async with session.get(f"http://{daemon.api}/stats") as answer:
        return (await answer.json())["total_predictions"]


async def outage(session, daemon):
    client = Client(session, "line-4", named=False)
    for _ in range(5):
        client.see(10)
        expect(await client.send(daemon.api), "an ordinary batch was not taken")
    await daemon.end(signal.SIGTERM)
    client.see(BACKLOG_MAX)
    expect(not await client.send(daemon.api), "nobody should have answered")
    await daemon.start()
    expect(await client.send(daemon.api), "what was saved up was not taken")
    stored = await total(session, daemon)
    expect(stored == client.made, f"{stored} of {client.made} are stored")
    return f"{client.made} records stored, {BACKLOG_MAX} of them in one batch"


async def lost_answers(session, daemon):
    before = await total(session, daemon)
    client = Client(session, "line-5", named=True)
    server, address = await swallow_answers(daemon.api)
    for count in (10, 5_000):
        client.see(count)
        for _ in range(2):
            expect(not await client.send(address), "the answer should have been lost")
        await daemon.end(signal.SIGKILL)
        await daemon.start()
        server.close()
        expect(await client.send(daemon.api), "the resend was not taken")
        server, address = await swallow_answers(daemon.api)
    server.close()
    stored = await total(session, daemon) - before
    expect(stored == client.made, f"{stored} of {client.made} are stored")
    return f"{client.made} records sent three times each, stored once"


async def all_checks(picket):
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECS)
    # A record is kept until the daemon says that it has it: no connection is trusted twice.
    connector = aiohttp.TCPConnector(force_close=True)
    with tempfile.TemporaryDirectory(prefix="picket-client-") as state:
        daemon = Daemon(picket, pathlib.Path(state))
        await daemon.start()
        try:
            async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
                for check in (outage, lost_answers):
                    print(f"ok {check.__name__}: {await check(session, daemon)}", flush=True)
        finally:
            code = await daemon.end(signal.SIGTERM)
        expect(code == 0, f"the daemon ended with {code}")
        verify = [picket, "log", "verify", "--store", f"{state}/log"]
        verified = subprocess.run(verify, capture_output=True, text=True, check=False)
        expect(verified.returncode == 0, verified.stdout + verified.stderr)
        print("ok verify:", verified.stdout.strip())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picket", required=True)
    args = parser.parse_args()
    try:
        asyncio.run(all_checks(args.picket))
    except Failed as failed:
        raise SystemExit(f"FAILED: {failed}") from failed


if __name__ == "__main__":
    main()
