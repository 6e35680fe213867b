#!/usr/bin/env python3
"""A device's own client against a real daemon, through outages; and programs that half-close.

    rig.py --picket FILE

The client is one that knows nothing of Picket: aiohttp, batches with an ISO timestamp without zone, absent
things as null, boxes of any length, scores a rounding step beyond 1. It keeps what it could not send and
sends all of it in one batch once the daemon answers again. The programs are nc, socat, openssl and Python's
ssl: each sends a request, says that it will send no more, and waits for the answer. One line `ok NAME: what was seen` for each check.
"""
import argparse
import asyncio
import contextlib
import datetime
import json
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import tempfile

import aiohttp

# A prediction that is answered once its record is on the medium.
REQUEST = (b"POST /predict?durable=true HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
           b"Content-Length: 3072\r\n\r\n" + bytes(3072))

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

    def __init__(self, picket, state, *arguments):
        self.picket, self.state, self.process, self.api = picket, state, None, None
        self.arguments = arguments

    async def start(self):
        command = [self.picket, "serve", "--state-dir", str(self.state), "--message-format", "json",
                   "--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", *self.arguments]
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


def half_closing(port, secure):
    """Programs that send what they read from stdin, then say that this is all, and print what comes."""
    at = f"127.0.0.1:{port}"
    if not secure:
        return {"nc": ["nc", "-N", "127.0.0.1", port], "socat": ["socat", "-t", "30", "-", f"TCP:{at}"]}
    # s_client says nothing at the end of its input; it is the daemon that closes.
    openssl = ["openssl", "s_client", "-quiet", "-verify_quiet", "-connect", at]
    return {"socat": ["socat", "-t", "30", "-", f"OPENSSL:{at},verify=0"],
            "openssl, TLS 1.2": [*openssl, "-tls1_2"], "openssl, TLS 1.3": [*openssl, "-tls1_3"]}


def unwrapped(port, version, ends_tcp):
    """Python's ssl: close_notify, and the end of TCP's own sending side where asked; then the answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    with socket.create_connection(("127.0.0.1", int(port)), REQUEST_SECS) as connection:
        def until_done(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(1 << 16))
        until_done(tls.do_handshake)
        tls.write(REQUEST)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        connection.sendall(outgoing.read())
        if ends_tcp:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ssl.SSLError):
            while not answer.endswith(b"}"):
                try:
                    answer += tls.read(1 << 16)
                except ssl.SSLWantReadError:
                    more = connection.recv(1 << 16)
                    if not more:
                        break
                    incoming.write(more)
        return answer


async def half_closed(picket):
    data = pathlib.Path(__file__).resolve().parents[1] / "data" / "tls"
    tls = ["--api-tls-cert", str(data / "cert.pem"), "--api-tls-key", str(data / "cert.key")]
    seen = []
    for secure, arguments in ((False, []), (True, tls)):
        with tempfile.TemporaryDirectory(prefix="picket-half-") as state:
            daemon = Daemon(picket, pathlib.Path(state), *arguments)
            await daemon.start()
            port = daemon.api.rsplit(":", 1)[1]
            try:
                answers = {}
                for name, command in half_closing(port, secure).items():
                    request = REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close", "openssl" in name)
                    done = await asyncio.to_thread(subprocess.run, command, input=request,
                                                   capture_output=True, timeout=REQUEST_SECS)
                    answers[name] = done.stdout
                for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3] if secure else []:
                    for ends_tcp in (False, True):
                        name = f"Python's ssl, {version.name}{', FIN' if ends_tcp else ''}"
                        answers[name] = await asyncio.to_thread(unwrapped, port, version, ends_tcp)
            finally:
                code = await daemon.end(signal.SIGTERM)
            expect(code == 0, f"the daemon ended with {code}")
            for name, answer in answers.items():
                expect(answer.startswith(b"HTTP/1.1 200 ") and b'"durable":true' in answer,
                       f"{name}: {answer[:200]!r}")
                seen.append(name)
    return f"200, durable, by {'; '.join(seen)}"


async def all_checks(picket):
    print(f"ok half_closed: {await half_closed(picket)}", flush=True)
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
