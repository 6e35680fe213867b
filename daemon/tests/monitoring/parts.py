"""What the rig is made of: the daemon, a disk for it, its clients, a model registry, Prometheus,
Alertmanager and whom it tells. Each is a real process or a real socket, on a port of its own.
"""
import http.client
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

PROJECT = pathlib.Path(__file__).resolve().parents[3]
SHIPPED = PROJECT / "k3s" / "monitoring"
PICTURES = PROJECT / "daemon" / "tests" / "data" / "cifar10"

# Time runs this much faster for Prometheus and Alertmanager than in the shipped files.
HASTE = 60
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

# Ask at the same time.
CLIENTS = 8

# Longest wait for anything, seconds. A starving machine makes the watchdog wait four deadlines.
PATIENCE = 90.0


class Failed(Exception):
    """A check that did not hold."""


def wait_until(what: str, done, patience: float = PATIENCE):
    """Asks until `done` gives something true, and gives that."""
    until = time.monotonic() + patience
    while True:
        found = done()
        if found:
            return found
        if time.monotonic() > until:
            raise Failed(f"{what}: not within {patience:.0f} s")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get_json(url: str):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False


def hasten(text: str, least: int = 0) -> str:
    """The durations after `for:`, in brackets, of a forecast, and after Alertmanager's group_…, shortened."""
    def shorter(found: re.Match) -> str:
        seconds = int(found[2]) * SECONDS[found[3]] // HASTE
        return f"{found[1]}{max(seconds, least)}s"
    text = text.replace("24 * 3600", f"24 * {3600 // HASTE}")
    return re.sub(r"(\bfor: |\[|\bgroup_(?:wait|interval): )(\d+)([smhd])\b", shorter, text)


def end(process: subprocess.Popen, how: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(how)
    process.wait(timeout=30)


class Disk:
    """A small ext4 of its own: one that can be filled without harm."""

    SIZE = 96 << 20

    def __init__(self, work: pathlib.Path):
        self.image, self.path = work / "disk.img", work / "disk"
        with self.image.open("wb") as image:
            image.truncate(self.SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", self.image], check=True)
        self.path.mkdir()
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)

    def fill(self) -> None:
        """Leaves a megabyte."""
        space = os.statvfs(self.path)
        bytes_free = space.f_bavail * space.f_frsize
        with (self.path / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, bytes_free - (1 << 20))

    def free(self) -> None:
        (self.path / "ballast").unlink()

    def close(self) -> None:
        subprocess.run(["umount", self.path], check=True)


class Registry:
    """Stands where an MLflow server would: it knows of no version."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"{}"
            self.send_response(200 if self.path.startswith("/api/2.0/mlflow/registered-models/") else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    def __init__(self):
        self.port, self.server = free_port(), None
        self.start()

    def start(self) -> None:
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self.Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Daemon:
    """The production binary, on the same ports over all its restarts."""

    def __init__(self, binary: str, state: pathlib.Path, work: pathlib.Path, registry: Registry):
        self.api, self.probe = free_port(), free_port()
        self.log = (work / "picket.log").open("w")
        self.command = [
            binary, "serve", "--message-format", "text", "--state-dir", str(state / "state"),
            "--api-listen", f"127.0.0.1:{self.api}", "--probe-listen", f"127.0.0.1:{self.probe}",
            # As many places as clients: none is turned away, and a worker that stands still fills them.
            "--api-workers", "1", "--api-queue", str(CLIENTS),
            "--api-max-connections", "32", "--api-max-connections-per-address", "32",
            "--log-max-bytes", "20MB", "--verdict-defect-labels", "cat",
            "--model-registry", f"http://127.0.0.1:{registry.port}",
            "--health-worker-deadline", "8s", "--health-sample-interval", "1s",
            # Bodies of some hundred kilobytes use up what there is for them.
            "--memory-budget", "16MiB", "--config", str(work / "picket.toml"),
        ]
        self.config = work / "picket.toml"
        self.config.write_text("# nothing is set here\n")
        self.process = None
        # Cleared, nobody reads what the daemon says.
        self.listening = threading.Event()
        self.listening.set()

    def start(self, *arguments: str) -> None:
        self.process = subprocess.Popen([*self.command, *arguments], stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self.listen, args=[self.process.stderr], daemon=True).start()

    def listen(self, said) -> None:
        for line in said:
            self.listening.wait()
            self.log.write(line)
            self.log.flush()

    def complain(self) -> None:
        """Has the daemon say something: that its configuration can't be read."""
        self.process.send_signal(signal.SIGHUP)

    def wait_ready(self) -> None:
        wait_until("/ready", lambda: is_up(f"http://127.0.0.1:{self.probe}/ready"))

    def answers_health(self) -> bool:
        return is_up(f"http://127.0.0.1:{self.probe}/health")

    def kill(self) -> None:
        end(self.process, signal.SIGKILL)

    def stop(self) -> None:
        if self.process:
            end(self.process)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.probe}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def damage_model(self, logits: list[float]) -> int:
        """Changes the golden sample's logits where the daemon keeps them; gives in how many places."""
        pattern = re.compile(b"".join(b"..(?:%s)" % upper_halves(each) for each in logits), re.DOTALL)
        places = 0
        with open(f"/proc/{self.process.pid}/mem", "r+b", buffering=0) as memory:
            for first, past in self.writable_memory():
                memory.seek(first)
                for found in pattern.finditer(memory.read(past - first)):
                    memory.seek(first + found.start() + 3)
                    # Sign and exponent of the first logit: it becomes its own opposite.
                    memory.write(bytes([found[0][3] ^ 0x80]))
                    places += 1
        return places

    def writable_memory(self) -> list[tuple[int, int]]:
        """Private mappings that hold anything."""
        found, last = [], None
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p ", line)
            if head:
                last = int(head[1], 16), int(head[2], 16)
            elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                last = None
            elif last and line.startswith("Rss:") and int(line.split()[1]) > 0:
                found.append(last)
        return found


def upper_halves(value: float) -> bytes:
    """What the upper two bytes of an f32 within 1e-4 of `value` may be, as alternatives."""
    halves = {struct.pack("<f", value + step * 1e-4)[2:] for step in (-1, 0, 1)}
    return b"|".join(re.escape(half) for half in sorted(halves))


class Clients:
    """Ask one after another, without a break, until told otherwise."""

    PAUSE = 0.15

    def __init__(self, daemon: Daemon):
        self.daemon, self.ended = daemon, threading.Event()
        self.say_good()
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def say_good(self) -> None:
        self.body = "image/png", (PICTURES / "ship.png").read_bytes()

    def say_defect(self) -> None:
        self.body = "image/png", (PICTURES / "cat.png").read_bytes()

    def say_nonsense(self) -> None:
        self.body = "application/json", b'{"data":[1,2,3]}'

    def ask(self) -> None:
        connection = None
        while not self.ended.wait(self.PAUSE):
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.daemon.api, timeout=60)
                media, body = self.body
                connection.request("POST", "/predict", body, {"Content-Type": media})
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                # The daemon is down, as it is meant to be.
                connection = None

    def stop(self) -> None:
        self.ended.set()


class Receiver:
    """Whom Alertmanager tells: keeps what came, by receiver, alert and status."""

    def __init__(self):
        told = self.told = []

        class Takes(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in message["alerts"]:
                    told.append((self.path.strip("/"), alert["labels"]["alertname"], alert["status"], alert))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Takes)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, name: str, status: str, since: int) -> str | None:
        return next((who for who, alert, state, _ in self.told[since:] if (alert, state) == (name, status)), None)


class Alertmanager:
    def __init__(self, work: pathlib.Path, receiver: Receiver):
        config = hasten((SHIPPED / "alertmanager.yml").read_text(), least=1)
        config = config.replace("http://alerts.example/", receiver.url)
        (work / "alertmanager.yml").write_text(config)
        self.port = free_port()
        self.log = (work / "alertmanager.log").open("w")
        self.process = subprocess.Popen(
            ["prometheus-alertmanager", f"--config.file={work}/alertmanager.yml",
             f"--storage.path={work}/alertmanager", f"--web.listen-address=127.0.0.1:{self.port}",
             "--cluster.listen-address="], stderr=self.log)

    def wait_ready(self) -> None:
        wait_until("Alertmanager", lambda: is_up(f"http://127.0.0.1:{self.port}/-/ready"))

    def suppressed(self, name: str) -> bool:
        found = get_json(f"http://127.0.0.1:{self.port}/api/v2/alerts?filter=alertname%3D%22{name}%22")
        return any(alert["status"]["state"] == "suppressed" for alert in found)

    def knows(self, name: str) -> bool:
        return bool(get_json(f"http://127.0.0.1:{self.port}/api/v2/alerts?filter=alertname%3D%22{name}%22"))

    def stop(self) -> None:
        end(self.process)


class Prometheus:
    def __init__(self, work: pathlib.Path, daemon: Daemon, alertmanager: Alertmanager):
        config = (SHIPPED / "prometheus.yml").read_text()
        config = config.replace("interval: 15s", "interval: 1s")
        config = config.replace("localhost:9093", f"localhost:{alertmanager.port}")
        self.config = config.replace("localhost:8001", f"127.0.0.1:{daemon.probe}")
        self.file = work / "prometheus.yml"
        self.file.write_text(self.config)
        self.rules = hasten((SHIPPED / "rules.yml").read_text())
        (work / "rules.yml").write_text(self.rules)
        self.target = f"127.0.0.1:{daemon.probe}"
        self.port = free_port()
        self.log = (work / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={self.file}", f"--storage.tsdb.path={work}/prometheus",
             f"--web.listen-address=127.0.0.1:{self.port}"], stderr=self.log)

    def wait_ready(self) -> None:
        wait_until("Prometheus", lambda: is_up(f"http://127.0.0.1:{self.port}/-/ready"))

    def drop_targets(self) -> None:
        self.file.write_text(self.config.replace(f'"{self.target}"', ""))
        self.process.send_signal(signal.SIGHUP)

    def restore_targets(self) -> None:
        self.file.write_text(self.config)
        self.process.send_signal(signal.SIGHUP)

    def query(self, expression: str) -> list:
        question = urllib.parse.urlencode({"query": expression})
        return get_json(f"http://127.0.0.1:{self.port}/api/v1/query?{question}")["data"]["result"]

    def alerts(self) -> dict[str, dict]:
        """What is pending or firing, by name."""
        found = get_json(f"http://127.0.0.1:{self.port}/api/v1/alerts")["data"]["alerts"]
        # Of several of one name the one that has come furthest.
        return {each["labels"]["alertname"]: each for each in sorted(found, key=lambda a: a["state"], reverse=True)}

    def rule_groups(self) -> list:
        return get_json(f"http://127.0.0.1:{self.port}/api/v1/rules")["data"]["groups"]

    def stop(self) -> None:
        end(self.process)
