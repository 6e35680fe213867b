"""The daemon as its users know it, and models for it."""
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

PATIENCE_SECS = 120
DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
EMBEDDED = DATA.parent.parent / "crates/classifier/embedded/cifar10-int8.onnx"
NAME = "cifar10-plain"
CAT = (DATA / "cifar10/cat.png").read_bytes()


class Failed(Exception):
    pass


def expect(holds, what):
    if not holds:
        raise Failed(what)


def until(what, holds, secs=PATIENCE_SECS):
    """Asks until it holds, and gives what it gave."""
    end = time.monotonic() + secs
    while not (found := holds()):
        if time.monotonic() > end:
            raise Failed(f"not within {secs} s: {what}")
        time.sleep(0.1)
    return found


def as_version(version):
    """The embedded network as another version, which has as many characters as its own."""
    data = EMBEDDED.read_bytes()
    old = b"version\x12\x052.1.0"
    expect(data.count(old) == 1 and len(version) == 5, "the embedded model's version has moved")
    return data.replace(old, b"version\x12\x05" + version.encode())


def bundle(version, onnx):
    """What a bundle's directory holds: a model under a version that it does not state itself."""
    return {"model.onnx": onnx, "model.toml": f'[model]\nversion = "{version}"\n'.encode()}


def one_answer(version):
    """A model with random weights, which says one thing of everything."""
    return bundle(version, (DATA / "models/f32.onnx").read_bytes())


def signed(counter):
    """A bundle that keys.pub of the same folder has signed."""
    folder = DATA / "models/signed"
    return {"model.onnx": (DATA / "models/f32.onnx").read_bytes(),
            "model.toml": (folder / f"counter-{counter}.toml").read_bytes(),
            "model.toml.minisig": (folder / f"counter-{counter}.toml.minisig").read_bytes()}


class Daemon:
    """picket serve on a state directory, on ports of the kernel's choice."""

    def __init__(self, picket, state, *arguments, before=(), environment=None):
        self.picket, self.state, self.arguments = str(picket), str(state), list(arguments)
        self.before, self.environment = list(before), dict(os.environ, **(environment or {}))
        self.process, self.addresses, self.said = None, {}, []
        self.changed = threading.Condition()

    def start(self):
        command = [*self.before, self.picket, "serve", "--state-dir", self.state, "--message-format", "json",
                   "--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", *self.arguments]
        self.addresses, self.said = {}, []
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, env=self.environment)
        threading.Thread(target=self._hear, args=(self.process.stderr,), daemon=True).start()
        until("the start", lambda: self.says("ready") or self.process.poll() is not None)
        expect(self.process.poll() is None, f"the daemon ended while starting: {self.said[-3:]}")
        return self

    def _hear(self, stream):
        for line in stream:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if message["message"] == "listening":
                self.addresses[message["fields"]["listener"]] = message["fields"]["addr"]
            self.said.append(message)

    def says(self, text):
        return any(text in json.dumps(message) for message in list(self.said))

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_SECS)

    def _get(self, listener, path, body=None, kind=None):
        request = urllib.request.Request(f"http://{self.addresses[listener]}{path}", data=body)
        if kind:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def predict(self, body=CAT, kind="image/png"):
        status, text = self._get("api", "/predict", body, kind)
        expect(status == 200, f"/predict: {status} {text[:300]}")
        return json.loads(text)

    def version(self):
        return self.predict()["model"]["version"]

    def ready(self):
        status, text = self._get("probe", "/ready")
        return status, json.loads(text)

    def metric(self, sample):
        _, text = self._get("probe", "/metrics")
        for line in text.decode().splitlines():
            if line.startswith(sample + " "):
                return float(line.rsplit(" ", 1)[1])
        raise Failed(f"there is no {sample}")

    def model(self, *arguments):
        command = [self.picket, "model", *arguments, "--state-dir", self.state]
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_SECS)
        return done.returncode, done.stdout, done.stderr

    def listed(self):
        code, out, err = self.model("list", "--json")
        expect(code == 0, f"model list: {err}")
        return json.loads(out)

    def states(self):
        return {line["version"]: line["state"] for line in self.listed()}

    def reason(self, version):
        return next((line.get("reason", "") for line in self.listed() if line["version"] == version), "")

    def held(self):
        """Resident memory in bytes, and open files."""
        process = pathlib.Path(f"/proc/{self.process.pid}")
        kib = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(kib.split()[1]) << 10, len(list((process / "fd").iterdir()))
