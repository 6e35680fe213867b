"""The worst legal mix of requests against a daemon in a control group of its own: never killed, every request answered.

Runs the daemon with 1, 2, 4 and 8 workers in 256 MiB without swap, then with 1 worker in 96 MiB, and all the while asks
it for the largest pictures of every format, batches, pages and statistics, reads answers slowly and sends bodies slowly.
Needs root, a memory control group (version 1 or 2) and Python 3.11; knows the daemon by its command line and HTTP only.
"""
import argparse
import collections
import contextlib
import gzip
import http.client
import json
import multiprocessing
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

MIB = 1 << 20
JSON, FORM = "application/json", "multipart/form-data; boundary=limit"
# A request may wait for a worker behind a full queue of the largest pictures.
ANSWER_SECONDS = 120
# What a request may be answered with: done, wrong, too large, not now.
ANSWERS = {200, 400, 401, 408, 413, 415, 422, 429, 503}
PROBE_SECONDS = 0.05


def png(width, height, depth=8, colour=2, interlaced=False):
    """A black PNG of any kind in a few KB."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    deflate, parts, bits = zlib.compressobj(6), [], depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    for x, y, dx, dy in passes if interlaced else ((0, 0, 1, 1),):
        columns, rows = (width - x + dx - 1) // dx, (height - y + dy - 1) // dy
        for row in range(0, rows, 64):
            parts.append(deflate.compress((b"\4" + bytes((columns * bits + 7) // 8)) * min(64, rows - row)))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    data = b"".join(parts) + deflate.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(width, height, progressive):
    """A grey JPEG of three components, the colours at half the size; progressive or with three scans."""
    def segment(marker, data):
        return bytes((0xff, marker)) + struct.pack(">H", len(data) + 2) + data
    codes = bytes([1, 1] + [0] * 14 + [1, 0])
    file = b"\xff\xd8" + segment(0xdb, bytes([0] + [1] * 64))
    file += segment(0xc2 if progressive else 0xc0, struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]))
    file += segment(0xc4, b"\x00" + codes) + segment(0xc4, b"\x10" + codes)
    def blocks(side):
        return -(-width // side) * -(-height // side)
    def scan(parts, band, bits):
        rest = bytes([0xaa | 0xff >> bits % 8]) if bits % 8 else b""
        return segment(0xda, bytes([len(parts)] + [byte for part in parts for byte in (part, 0)] + band + [0])) + b"\xaa" * (bits // 8) + rest
    luma, chroma = blocks(8), blocks(16)
    if progressive:
        file += scan([1, 2, 3], [0, 0], chroma * 12)
    per_block = 2 if progressive else 4
    for part, count in ((1, luma), (2, chroma), (3, chroma)):
        file += scan([part], [1 if progressive else 0, 63], count * per_block)
    return file + b"\xff\xd9"


def tiff(width, height):
    """A deflated RGB TIFF in one strip, which is unpacked whole."""
    data = zlib.compress(b"\xc8" * (width * height * 3), 6)
    tags = [(256, width), (257, height), (258, 8), (259, 8), (262, 2), (273, 8), (277, 3), (278, height), (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def record(**changed):
    plain = dict(image_id="i", timestamp=1795000000.5, model_version="v", model_name="m", inference_time_ms=1, detections=[], defect_detected=False, confidence_scores=[])
    return dict(plain, **changed)


def batch(one, count):
    one = json.dumps(one, separators=(",", ":")).encode()
    return b'{"predictions":[' + b",".join([one] * count) + b'],"batch_size":%d,"timestamp":1795000000}' % count


def form(file, kind):
    return b'--limit\r\nContent-Disposition: form-data; name="f"; filename="f"\r\nContent-Type: ' + kind.encode() + b"\r\n\r\n" + file + b"\r\n--limit--\r\n"


def requests():
    """Every request of the mix: name → (method, path, body, headers)."""
    progressive, scans, plain = jpeg(6000, 4000, True), jpeg(6000, 4000, False), png(6000, 4000)
    full = record(image_id="\1" * 256, processing_notes="\1" * 4096, confidence_scores=[0.1234567890123456] * 1000,
                  detections=[{"class": '"' * 128, "confidence": 0.1234567890123456, "bbox": [1.2345678901234567e-300] * 4}] * 100)
    largest = dict(full, detections=[{"class": '"' * 128, "confidence": 0.1234567890123456, "bbox": [1.2345678901234567e-300] * 20}] * 100)
    middle = record(processing_notes="n" * 4096, confidence_scores=[0.5] * 1000, detections=[{"class": "c" * 120, "confidence": 0.5, "bbox": [1, 2, 3, 4]}] * 45)
    numbers = json.dumps({"x": "\n", "data": [17] * 3072}).encode()
    zeros = b'{"batch_size":1,"timestamp":1,"predictions":[' + b"0," * 8388000 + b"0]}"
    def post(path, body, kind=None, **more):
        return "POST", path, body, dict({"Content-Type": kind} if kind else {}, **more)
    def zipped(path, body, kind):
        return post(path, gzip.compress(body, 6), kind, **{"Content-Encoding": "gzip"})
    return {
        "progressive jpeg": post("/predict", progressive, "image/jpeg"),
        "jpeg of three scans": post("/predict", scans, "image/jpeg"),
        "png": post("/predict", plain, "image/png"),
        "interlaced png": post("/predict", png(6000, 4000, interlaced=True), "image/png"),
        "16-bit png": post("/predict", png(4000, 3000, depth=16, colour=6), "image/png"),
        "tiff": post("/predict", tiff(4000, 3000), "image/tiff"),
        "ppm": post("/predict", b"P6 2200 2200 255\n" + b"\x10" * (2200 * 2200 * 3), "image/x-portable-anymap"),
        "json": post("/predict", numbers, JSON),
        "json of brackets": post("/predict", b'{"x":' + b"[" * (8 * MIB), JSON),
        "json text": post("/predict", b'{"range":"\\u0041' + b"a" * (15 * MIB) + b'"}', JSON),
        "gzip bomb": zipped("/predict", bytes(64 * MIB), "application/octet-stream"),
        "gzipped jpeg": zipped("/predict", progressive, "image/jpeg"),
        "form": post("/predict", form(progressive, "image/jpeg"), FORM),
        "large form": post("/predict", form(bytes(7 * MIB), "image/bmp"), FORM),
        "all probabilities": post("/predict?probabilities=all", b"\x10" * 3072, "application/octet-stream"),
        "small": post("/predict", b"\x10" * 3072, "application/octet-stream"),
        "batch of 20,000": post("/log", batch(record(), 20000), JSON),
        "batch of 990": post("/log?durable=false", batch(middle, 990), JSON),
        "large records": post("/log", batch(full, 114), JSON),
        "largest records": post("/log", batch(largest, 5), JSON),
        "batch of zeros": post("/log", zeros, JSON),
        "batch of text": post("/log", b'{"batch_size":"' + b"a" * (15 * MIB) + b'"}', JSON),
        "page": ("GET", "/predictions?limit=1000", None, {}),
        "page of defects": ("GET", "/predictions?limit=1000&defect_only=true", None, {}),
        "stats": ("GET", "/stats", None, {}),
        "metrics": ("GET", "/metrics", None, {}),
    }


# How many clients repeat which requests at the same time.
CLIENTS = [
    ["progressive jpeg"], ["progressive jpeg"], ["progressive jpeg"], ["jpeg of three scans", "interlaced png"], ["png", "16-bit png"],
    ["tiff", "ppm"], ["json", "json of brackets", "json text"], ["gzip bomb", "gzipped jpeg"], ["form", "large form"],
    ["batch of 20,000"], ["batch of 990"], ["batch of 990"], ["large records"], ["largest records"], ["batch of zeros", "batch of text"],
    ["page"], ["page"], ["page of defects", "stats"], ["all probabilities", "small", "metrics"],
]
SLOW_READERS, SLOW_SENDERS, SILENT = 12, 8, 40


def ask(port, method, path, body, headers):
    """Returns the status; 0 and the reason where there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        # Who is refused early may not get all of its body out; the answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, ""
    except Exception as error:  # whatever it is, it is no answer
        return 0, repr(error)
    finally:
        connection.close()


def client(names, all_requests, port, until, results):
    counts, why = collections.Counter(), {}
    while time.monotonic() < until:
        for name in names:
            status, reason = ask(port, *all_requests[name])
            counts[name, status] += 1
            why.setdefault((name, status), reason)
            if status in (0, 503):
                time.sleep(0.05)
    results.put((counts, why))


def slow_reader(port, until, request):
    """Asks for long answers and takes them drop by drop."""
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(request)
            for _ in range(200):
                if time.monotonic() > until or not s.recv(512):
                    break
                time.sleep(0.1)


def slow_sender(port, until):
    """Sends a large body just fast enough."""
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            s.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % (8 * MIB))
            for _ in range(200):
                if time.monotonic() > until:
                    break
                s.sendall(b"x" * (40 << 10))
                time.sleep(0.15)


def silent(port, until):
    sockets = []
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            sockets.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        if len(sockets) >= SILENT:
            sockets.pop(0).close()
        time.sleep(0.05)


def prober(port, until, results):
    """Asks /health as a kubelet does, each time on a connection of its own."""
    took, failed = [], []
    while time.monotonic() < until:
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/health")
            status = connection.getresponse().status
            took.append(time.monotonic() - start)
            if status != 200:
                failed.append(status)
        except Exception as error:  # a probe without an answer has failed, whatever the reason
            failed.append(repr(error))
        finally:
            connection.close()
        time.sleep(PROBE_SECONDS)
    results.put((took, failed))


class Cgroup:
    """A control group with a limit of memory and no swap; version 1 or 2."""
    def __init__(self, mib):
        mounts = [line.split() for line in open("/proc/mounts")]
        one = next((m[1] for m in mounts if m[2] == "cgroup" and "memory" in m[3].split(",")), None)
        two = next((m[1] for m in mounts if m[2] == "cgroup2"), None)
        if not (one or two):
            sys.exit("memory: no memory control group here")
        self.old, self.dir = one is not None, f"{one or two}/picket-memory-{os.getpid()}-{mib}"
        os.mkdir(self.dir)
        if not self.old and not os.path.exists(self.dir + "/memory.max"):
            self.write("../cgroup.subtree_control", "+memory")
        self.write("memory.limit_in_bytes" if self.old else "memory.max", mib * MIB)
        with contextlib.suppress(OSError):
            self.write("memory.swappiness" if self.old else "memory.swap.max", 0)

    def write(self, name, value):
        with open(f"{self.dir}/{name}", "w") as file:
            file.write(str(value))

    def read(self, name):
        with open(f"{self.dir}/{name}") as file:
            return file.read()

    def kills(self):
        text = self.read("memory.oom_control" if self.old else "memory.events")
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)

    def held(self):
        """What is not cache, which the kernel takes back by itself."""
        stat = dict(line.split() for line in self.read("memory.stat").splitlines())
        return int(stat["rss" if self.old else "anon"])

    def remove(self):
        for _ in range(50):
            try:
                return os.rmdir(self.dir)
            except OSError:
                time.sleep(0.1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    def __init__(self, picket, state, group, workers):
        self.api, self.probe = free_port(), free_port()
        command = [picket, "serve", "--state-dir", state, "--api-listen", f"127.0.0.1:{self.api}", "--probe-listen", f"127.0.0.1:{self.probe}",
                   "--api-workers", str(workers), "--log-max-bytes", "200MB"]
        self.stderr = open(os.path.join(state, "stderr"), "w+")
        self.process = subprocess.Popen(["sh", "-c", f'echo $$ > {group.dir}/cgroup.procs && exec "$@"', "sh", *command], stdout=subprocess.DEVNULL, stderr=self.stderr)
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.api), timeout=1):
                return
            time.sleep(0.05)
        sys.exit("memory: the daemon does not start")

    def metrics(self):
        with contextlib.suppress(Exception):
            connection = http.client.HTTPConnection("127.0.0.1", self.probe, timeout=5)
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
            return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}
        return {}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")


def run(picket, mib, workers, seconds, health_ms, all_requests):
    """One daemon under the whole mix; returns what was wrong."""
    group, state = Cgroup(mib), tempfile.mkdtemp(prefix="picket-memory-")
    daemon = Daemon(picket, state, group, workers)
    results, probes = multiprocessing.Queue(), multiprocessing.Queue()
    until = time.monotonic() + seconds
    page = b"GET /predictions?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n"
    jobs = [multiprocessing.Process(target=client, args=(names, all_requests, daemon.api, until, results)) for names in CLIENTS]
    jobs += [multiprocessing.Process(target=slow_reader, args=(daemon.api, until, page * (1 + index % 3))) for index in range(SLOW_READERS)]
    jobs += [multiprocessing.Process(target=slow_sender, args=(daemon.api, until)) for _ in range(SLOW_SENDERS)]
    jobs += [multiprocessing.Process(target=silent, args=(daemon.api, until)), multiprocessing.Process(target=prober, args=(daemon.probe, until, probes))]
    for job in jobs:
        job.daemon = True
        job.start()
    peak, taken = 0, collections.Counter()
    while time.monotonic() < until and daemon.process.poll() is None:
        peak = max(peak, group.held())
        for name, value in daemon.metrics().items():
            if name.startswith("picket_memory_taken_bytes"):
                taken[name] = max(taken[name], value)
        time.sleep(0.1)
    killed, exited = group.kills(), daemon.process.poll()
    counts, why = collections.Counter(), {}
    took, failed = [], ["no prober"]
    if exited is None:
        for _ in CLIENTS:
            some, reasons = results.get(timeout=2 * ANSWER_SECONDS)
            counts += some
            why.update(reasons)
        took, failed = probes.get(timeout=60)
    killed, exited = group.kills(), daemon.process.poll()
    at_rest = daemon.metrics()
    for job in jobs:
        job.kill()
    daemon.process.send_signal(signal.SIGTERM)
    try:
        daemon.process.wait(30)
    except subprocess.TimeoutExpired:
        daemon.process.kill()
    group.remove()
    wrong = judge(killed, exited, counts, why, failed, took, health_ms)
    report(mib, workers, seconds, counts, took, peak, taken, at_rest, wrong)
    if wrong:
        daemon.stderr.seek(0)
        print("".join(daemon.stderr.readlines()[-15:]))
    shutil.rmtree(state, True)
    return wrong


def judge(killed, exited, counts, why, failed, took, health_ms):
    wrong = []
    if killed or exited is not None:
        wrong.append(f"killed {killed} times, exit {exited}")
    bad = {f"{name}: {status} {why.get((name, status), '')}": n for (name, status), n in counts.items() if status not in ANSWERS}
    if bad:
        wrong.append(f"not answered: {bad}")
    if exited is None:
        for names in CLIENTS:
            if not any(counts[name, status] for name in names for status in ANSWERS):
                wrong.append(f"nothing came back of {names}")
        if not counts["small", 200]:
            wrong.append("no small picture was predicted")
    if failed:
        wrong.append(f"probes failed: {failed[:3]}, {len(failed)} in all")
    if percentile(took, 0.99) > health_ms / 1e3:
        wrong.append(f"/health took {percentile(took, 0.99) * 1e3:.0f} ms at the 99th percentile, at most {health_ms} are wanted")
    return wrong


def report(mib, workers, seconds, counts, took, peak, taken, at_rest, wrong):
    by_status = collections.Counter()
    for (_, status), n in counts.items():
        by_status[status] += n
    health = "/".join(f"{percentile(took, share) * 1e3:.1f}" for share in (0.5, 0.99, 1.0))
    budget = at_rest.get("picket_memory_budget_bytes", 0)
    print(f"{mib} MiB, {workers} workers, {seconds:.0f} s: {dict(sorted(by_status.items()))}, /health p50/p99/max {health} ms of {len(took)}, "
          f"peak {peak / MIB:.0f} MiB of heap, budget {budget / MIB:.0f} MiB: {'; '.join(wrong) or 'held'}")
    print("  largest taken, MiB:", {name.split('"')[1]: round(value / MIB, 1) for name, value in sorted(taken.items())})
    print("  left taken at rest:", {name.split('"')[1]: int(value) for name, value in at_rest.items() if name.startswith("picket_memory_taken_bytes") and value})
    names = sorted({name for name, _ in counts})
    print("  " + "; ".join(f"{name} " + "/".join(f"{status}:{n}" for (other, status), n in sorted(counts.items()) if other == name) for name in names), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picket")
    parser.add_argument("--minutes", type=float, default=10, help="of all runs together")
    parser.add_argument("--health-ms", type=float, default=100, help="what /health may take at the 99th percentile")
    parser.add_argument("--workers", default="1,2,4,8", help="runs in 256 MiB; one more follows in 96 MiB with 1 worker")
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("memory: control groups need root")
    runs = [(256, int(workers)) for workers in chosen.workers.split(",") if workers] + [(96, 1)]
    all_requests, wrong = requests(), []
    for mib, workers in runs:
        wrong += run(os.path.abspath(chosen.picket), mib, workers, chosen.minutes * 60 / len(runs), chosen.health_ms, all_requests)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
