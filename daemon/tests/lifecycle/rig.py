#!/usr/bin/env python3
"""The life of a model on a box: a real MLflow server, a real daemon, and whatever goes wrong between them.

    rig.py --picket FILE [--size full] [CHECK …]

Versions are registered, aliases and stages moved, downloads cut and spoilt in 18 ways, daemons killed in the middle;
always one whole model must serve, and the one that should. One line `ok NAME: what was seen` for each check, and
`failed NAME: why`; without names all are run. `--size full` swaps 1,000 times instead of 200, and asks a server with
basic authentication below a prefix.
"""
import argparse
import concurrent.futures
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import faults
import registry
from daemon import (CAT, DATA, NAME, Daemon, Failed, as_version, expect, one_answer, signed, until)
from registry import sum_of

SWAPS = {"ci": 200, "full": 1_000}
# The allocator's pools and the log's cache fill in the first swaps.
SWAPS_BEFORE_MEASURING = 60
MEMORY_GROWTH_MAX = 12 << 20
FILES_GROWTH_MAX = 4

# Faults of downloads: what is answered in turn, the seconds until the version must serve (None: it must not), and
# whether the registry states the file's sum.
FILES = "mlflow-artifacts/artifacts/"
DOWNLOADS = {
    "none": (["none"], 60, False),
    "cut": (["cut:200000", "cut:5000"], 60, False),
    "cutchunked": (["cutchunked:200000"], 60, False),
    "short": (["short:200000"], 60, False),
    "flip": (["flip:300000"], None, True),
    "stall": (["stall:200000:2"], 60, False),
    "slow": (["slow:400000"], 60, False),
    "norange": (["cut:200000", "norange"], 60, False),
    "wrongrange": (["cut:200000", "wrongrange"], 60, False),
    "etag": (["etag", "cut:200000", "etag"], 60, False),
    "chunked": (["chunked"], 60, False),
    "html": (["html"], 60, False),
    "redirect": (["redirect"], 60, False),
    "status": (["status:503", "status:500", "status:404"], 60, False),
    "hang": (["hang:100"], 240, False),
    "reset": (["reset", "reset"], 60, False),
    "bomb": (["bomb"], 60, False),
    "endless": (["endless"], 60, False),
    "json": (["json:{}"], 60, False),
}
# Faults of the question which version is meant: the daemon must say that the registry does not answer.
QUESTIONS = {"html": "html", "redirect": "redirect", "status": "status:500", "forbidden": "status:403",
             "json": "json:[1]", "reset": "reset", "bomb": "bomb", "endless": "endless", "short": "short:20"}


class Rig:
    def __init__(self, picket, size, directory):
        self.picket, self.size, self.directory = picket, size, pathlib.Path(directory)
        self.mlflow = registry.Mlflow(self.directory / "mlflow").start()
        self.lock, self.count, self.daemons = threading.Lock(), 0, []

    def new(self, *arguments, **more):
        """A daemon with a state directory of its own, and the name of its model in the registry."""
        with self.lock:
            self.count += 1
            name = f"box-{self.count}"
            self.daemons.append(Daemon(self.picket, self.directory / name, *arguments, **more))
            return self.daemons[-1], name

    def clear(self):
        """Ends what a check that failed has left."""
        for daemon in self.daemons:
            if daemon.process and daemon.process.poll() is None:
                daemon.end(signal.SIGKILL)
        self.daemons = []
        # faketime runs the daemon as a process of its own, which outlives it.
        subprocess.run(["pkill", "-KILL", "-f", "--", f"--state-dir {self.directory}/"], check=False)

    def following(self, *arguments, server=None, alias="champion", **more):
        """A daemon that follows an alias of its own model, by way of a proxy."""
        proxy = faults.Proxy(f"127.0.0.1:{(server or self.mlflow).port}")
        prefix = (server or self.mlflow).prefix
        daemon, name = self.new(**more)
        daemon.arguments += ["--model-registry", f"http://127.0.0.1:{proxy.port}{prefix}", "--model-name", name,
                             "--model-registry-interval", "1s", *arguments]
        if alias:
            daemon.arguments += ["--model-alias", alias]
        return daemon, name, proxy


QUIET = ["--model-probation", "0s"]


def serves(daemon, version, secs=60):
    until(f"version {version} serves", lambda: daemon.version() == version, secs)


def check_alias(rig):
    """Nothing there, an alias, the alias moved, MLflow's usual form with a file of weights, a file alone."""
    daemon, name, proxy = rig.following(*QUIET)
    daemon.start()
    base = daemon.version()
    until("the registry answers", lambda: daemon.ready()[1]["mlflow_accessible"] is True)
    expect(daemon.says("nothing to install"), "a missing model is not told of")
    for version in ("3.0.1", "3.0.2"):
        data = as_version(version)
        number = rig.mlflow.register(name, {"model.onnx": data}, sum_of(data))
        rig.mlflow.alias(name, "champion", number)
        serves(daemon, version)
    proxy.spoil("/api/2.0/mlflow/")
    time.sleep(4)
    polls = len(proxy.asked())
    expect(2 <= polls <= 6, f"{polls} questions in 4 s at an interval of one")
    proxy.spoil("")
    path = rig.directory / "logged.onnx"
    path.write_bytes(as_version("3.0.4"))
    rig.mlflow.alias(name, "champion", rig.mlflow.log_model(name, path))
    serves(daemon, "3.0.4")
    number = rig.mlflow.register(name, {"net.onnx": as_version("3.0.5")}, alone=True)
    rig.mlflow.alias(name, "champion", number)
    serves(daemon, "3.0.5")
    states = daemon.states()
    expect(daemon.end() == 0, "the daemon did not end well")
    daemon.start()
    expect(daemon.version() == "3.0.5", "a restart serves another version")
    daemon.end()
    return f"{base}, 3.0.1, 3.0.2, 3.0.4 (weights apart), 3.0.5 (a file alone), {polls} questions in 4 s; {states}"


def check_stage(rig):
    daemon, name, _ = rig.following(*QUIET, alias=None)
    daemon.start()
    for version in ("3.1.1", "3.1.2"):
        rig.mlflow.stage(name, "Production", rig.mlflow.register(name, {"model.onnx": as_version(version)}))
        serves(daemon, version)
    daemon.end()
    return "3.1.1, then 3.1.2, by the stage Production"


def check_bad_model(rig):
    """One answer for everything: back within 500 predictions, and never downloaded again."""
    daemon, name, proxy = rig.following("--model-probation", "1h")
    daemon.start()
    base = daemon.version()
    rig.mlflow.alias(name, "champion", rig.mlflow.register(name, one_answer("9.0.0")))
    predictions = 0

    def is_back():
        nonlocal predictions
        seen = daemon.version()
        predictions += seen == "9.0.0"
        return seen == base and predictions > 0

    until("the version before", is_back)
    expect(predictions <= 500, f"{predictions} predictions by the bad model")
    proxy.spoil(FILES)
    time.sleep(4)
    expect(not proxy.asked(), "a version that was rolled back is fetched again")
    reason = daemon.reason("9.0.0")
    expect("classes" in reason, f"the reason is {reason!r}")
    daemon.end()
    return f"left after {predictions} predictions, {reason}"


def check_refused(rig):
    """Wrong sums, other files than models, no signature, a wrong key, an old counter: each downloaded once."""
    keys = rig.directory / "keys.pub"
    shutil.copy(DATA / "models/signed/keys.pub", keys)
    other = rig.directory / "other.pub"
    other.write_text(keys.read_text().splitlines()[-1] + "\n")
    onnx = as_version("3.2.1")
    told = []
    for case, files, tag, arguments, expected in [
            ("sum", {"model.onnx": onnx}, "0" * 64, [], "the registry states SHA-256"),
            ("damaged", {"model.onnx": onnx[:9_000]}, None, [], "is damaged or truncated"),
            ("no model", {"notes.txt": b"none"}, None, [], "none of its files is ONNX"),
            ("unsigned", one_answer("9.2.0"), None, ["--model-trusted-keys", keys], "model.toml.minisig is missing"),
            ("wrong key", signed(7), None, ["--model-trusted-keys", other], "is of none of the 1 trusted keys"),
            ("too slow", {"model.onnx": onnx}, None, ["--model-max-time", "10us"], "[model] max_time allows"),
    ]:
        daemon, name, proxy = rig.following(*QUIET, *map(str, arguments))
        daemon.start()
        base = daemon.version()
        rig.mlflow.alias(name, "champion", rig.mlflow.register(name, files, tag))
        until(f"{case} is refused", lambda: any(line["state"] == "refused" for line in daemon.listed()))
        refused = [line for line in daemon.listed() if line["state"] == "refused"]
        expect(len(refused) == 1 and expected in refused[0]["reason"], f"{case}: {refused}")
        proxy.spoil(FILES)
        time.sleep(3)
        expect(not proxy.asked(), f"{case} is fetched again")
        expect(daemon.version() == base and daemon.ready()[0] == 200, f"{case}: the model before does not serve")
        daemon.end()
        told.append(f"{case}: {refused[0]['reason'].split(':')[0]}")
    daemon, name, _ = rig.following(*QUIET, "--model-trusted-keys", str(keys))
    daemon.start()
    for counter in (7, 6):
        rig.mlflow.alias(name, "champion", rig.mlflow.register(name, signed(counter)))
        if counter == 7:
            serves(daemon, "1.7.0")
    until("the old counter is refused", lambda: "its counter is 6" in daemon.reason("1.6.0"))
    expect(daemon.version() == "1.7.0", "an older counter serves")
    daemon.end()
    return "; ".join([*told, "signed 7 serves, signed 6: counter"])


def one_download(rig, fault):
    spoilt, secs, has_sum = DOWNLOADS[fault]
    daemon, name, proxy = rig.following(*QUIET)
    daemon.start()
    try:
        base = daemon.version()
        data = as_version("3.3.1")
        number = rig.mlflow.register(name, {"model.onnx": data}, sum_of(data) if has_sum else None)
        proxy.spoil(FILES, *spoilt)
        began = time.monotonic()
        rig.mlflow.alias(name, "champion", number)
        if secs is None:
            until(f"{fault} is refused", lambda: "SHA-256" in daemon.reason("3.3.1"))
            expect(daemon.version() == base, f"{fault}: a spoilt model serves")
        else:
            serves(daemon, "3.3.1", secs)
            served = next(line for line in daemon.listed() if line["version"] == "3.3.1")
            expect(served["digest"] == sum_of(data), f"{fault}: other bytes serve than were registered")
        asked = proxy.asked()
        expect(asked and asked[0][2] == spoilt[0], f"{fault}: the fault did not come to pass: {asked}")
        if fault in ("cut", "stall"):
            expect(any(wanted for _, wanted, _ in asked), f"{fault}: nothing was resumed: {asked}")
        expect(daemon.ready()[0] == 200, f"{fault}: not ready")
        expect(daemon.end() == 0, f"{fault}: no good end")
        return f"{fault} {time.monotonic() - began:.0f} s"
    finally:
        proxy.end()
        if daemon.process.poll() is None:
            daemon.end(signal.SIGKILL)


def check_faults(rig):
    """Each way to spoil a download: at last the version serves, byte for byte, or is refused."""
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        # The one that waits longest first.
        order = sorted(DOWNLOADS, key=lambda fault: fault != "hang")
        return ", ".join(pool.map(lambda fault: one_download(rig, fault), order))


def check_questions(rig):
    """Whatever answers instead of the registry: accessible is false, the model serves, and it recovers."""
    daemon, name, proxy = rig.following(*QUIET, "--model-registry-required", "true")
    daemon.start()
    rig.mlflow.alias(name, "champion", rig.mlflow.register(name, {"model.onnx": as_version("3.4.1")}))
    serves(daemon, "3.4.1")
    for fault in QUESTIONS.values():
        until("the registry answers", lambda: daemon.ready()[1]["mlflow_accessible"] is True)
        proxy.spoil("registered-models/alias", *[fault] * 3)
        until(f"{fault} is told", lambda: daemon.ready()[1]["mlflow_accessible"] is False)
        status, said = daemon.ready()
        expect(status == 503 or said["mlflow_accessible"], f"{fault}: {status} {said}")
        expect(daemon.version() == "3.4.1", f"{fault}: another model serves")
    until("the registry answers", lambda: daemon.ready()[1]["mlflow_accessible"] is True)
    daemon.end()
    return ", ".join(QUESTIONS)


def check_registry_killed(rig):
    """The server dies in the middle of a download, and comes back: the download goes on."""
    server = registry.Mlflow(rig.directory / "mlflow-killed").start()
    try:
        daemon, name, proxy = rig.following(*QUIET, server=server)
        daemon.start()
        number = server.register(name, {"model.onnx": as_version("3.5.1")})
        proxy.spoil(FILES, "cut:300000", "reset", "reset")
        server.alias(name, "champion", number)
        until("a part has come", lambda: len(proxy.asked()) >= 2)
        server.end(signal.SIGKILL)
        until("the registry is missed", lambda: not daemon.ready()[1]["mlflow_accessible"] or len(proxy.asked()) > 3)
        expect(daemon.ready()[0] == 200, "not ready without a registry that is not required")
        server.start()
        serves(daemon, "3.5.1", 120)
        asked = [wanted for _, wanted, _ in proxy.asked() if wanted]
        expect(asked, "the download began anew")
        daemon.end()
        return f"killed and back, resumed with {asked[-1]}"
    finally:
        server.end()


def check_swaps(rig):
    """A swap after the other under load: no request fails, /ready stays 200, memory and files stay flat."""
    daemon, _ = rig.new(*QUIET)
    daemon.start()
    paths = []
    for version in ("3.6.1", "3.6.2"):
        paths.append(rig.directory / f"{version}.onnx")
        paths[-1].write_bytes(as_version(version))
    stop, counts, bad = threading.Event(), {"predictions": 0, "versions": set()}, []

    def load():
        while not stop.is_set():
            try:
                answer = daemon.predict()
                counts["versions"].add(answer["model"]["version"])
                expect(answer["label"] == "cat", f"it says {answer['label']}")
                counts["predictions"] += 1
                status, said = daemon.ready()
                expect(status == 200, f"/ready: {status} {said}")
            except Exception as error:
                bad.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    held, swaps = None, SWAPS[rig.size]
    try:
        for swap in range(swaps):
            code, _, err = daemon.model("install", str(paths[swap % 2]))
            expect(code == 0, f"swap {swap}: {err}")
            if swap == SWAPS_BEFORE_MEASURING:
                held = daemon.held()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    now = daemon.held()
    expect(not bad, f"{len(bad)} requests failed: {bad[:2]}")
    expect(daemon.metric("picket_model_swaps_total") == swaps, "not as many swaps as installs")
    expect(now[0] - held[0] <= MEMORY_GROWTH_MAX, f"memory grew from {held[0] >> 10} to {now[0] >> 10} KiB")
    expect(now[1] - held[1] <= FILES_GROWTH_MAX, f"open files grew from {held[1]} to {now[1]}")
    expect(daemon.end() == 0, "no good end")
    return (f"{swaps} swaps, {counts['predictions']} predictions by {sorted(counts['versions'])}, none failed; "
            f"memory {held[0] >> 10} to {now[0] >> 10} KiB, files {held[1]} to {now[1]}")


def check_crash_loop(rig):
    """Killed twice in its probation, by the second time the version is left before it is loaded."""
    daemon, name, _ = rig.following("--model-probation", "1h")
    daemon.start()
    base = daemon.version()
    rig.mlflow.alias(name, "champion", rig.mlflow.register(name, {"model.onnx": as_version("3.7.1")}))
    serves(daemon, "3.7.1")
    expect(daemon.end() == 0, "no good end")
    daemon.start()
    expect(daemon.version() == "3.7.1", "a planned stop counts as a crash")
    for left in (True, False):
        daemon.end(signal.SIGKILL)
        daemon.start()
        expect((daemon.version() == "3.7.1") == left, f"{daemon.version()} serves")
    time.sleep(3)
    expect(daemon.version() == base, "the registry brings it back")
    reason = daemon.reason("3.7.1")
    daemon.end()
    return f"{base} serves again: {reason}"


def check_kills(rig):
    """kill -9 at any moment of a change that the registry asks for: always one whole model."""
    daemon, name, _ = rig.following(*QUIET)
    known = set()
    for turn in range(16):
        version = f"4.{turn // 10}.{turn % 10}"
        known.add(version)
        number = rig.mlflow.register(name, {"model.onnx": as_version(version)})
        daemon.start()
        known.add(daemon.version())
        rig.mlflow.alias(name, "champion", number)
        time.sleep(0.2 + turn * 0.1)
        daemon.end(signal.SIGKILL)
        daemon.start()
        serving = daemon.version()
        expect(serving in known, f"{serving} serves")
        first = daemon.listed()[0]
        expect((first["version"], first["state"]) == (serving, "serving"), f"{serving} serves, listed is {first}")
        expect(not daemon.says("damaged") and not daemon.says("was lost"), "the state was lost")
        daemon.end(signal.SIGKILL)
    daemon.start()
    serves(daemon, version)
    daemon.end()
    return f"32 kills, at the end {version} serves"


def check_full_disk(rig):
    """No room: the model before serves, the log keeps its part, and the version comes once there is room."""
    mounted = rig.directory / "small"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(mounted)], check=True)
    try:
        daemon, name, proxy = rig.following(*QUIET, "--log-max-bytes", "2MB")
        daemon.state = str(mounted / "state")
        daemon.start()
        base = daemon.version()
        with open(mounted / "filler", "wb") as filler:
            try:
                while True:
                    filler.write(bytes(1 << 16))
                    filler.flush()
            except OSError:
                pass
        rig.mlflow.alias(name, "champion", rig.mlflow.register(name, {"model.onnx": as_version("3.8.1")}))
        until("the lack of room is told", lambda: daemon.says("bytes left for models"))
        expect(not proxy.asked(), "it was fetched without room")
        expect(daemon.version() == base, "another model serves")
        (mounted / "filler").unlink()
        serves(daemon, "3.8.1", 120)
        daemon.end()
        return "told, not fetched, and there once there was room"
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=False)


def check_clock(rig):
    """A clock that is 20 years off, before and behind: nothing is decided by it."""
    told = []
    for off in ("-20y", "+20y"):
        daemon, name, _ = rig.following("--model-probation", "1h", before=["faketime", "--exclude-monotonic", "-f", off])
        daemon.start()
        base = daemon.version()
        rig.mlflow.alias(name, "champion", rig.mlflow.register(name, {"model.onnx": as_version("3.9.1")}))
        serves(daemon, "3.9.1")
        code, out, err = daemon.model("rollback")
        expect(code == 0 and daemon.version() == base, f"{out}{err}")
        told.append(daemon.listed()[0]["since"])
        daemon.end()
    return f"swapped and rolled back at {' and '.join(told)}"


def check_pinned(rig):
    daemon, name, _ = rig.following(*QUIET)
    daemon.start()
    base = daemon.version()
    code, _, err = daemon.model("pin", base)
    expect(code == 0, err)
    rig.mlflow.alias(name, "champion", rig.mlflow.register(name, {"model.onnx": as_version("3.9.5")}))
    time.sleep(4)
    expect(daemon.version() == base, "the registry changes a pinned model")
    code, _, err = daemon.model("unpin")
    expect(code == 0, err)
    serves(daemon, "3.9.5")
    daemon.end()
    return f"{base} while pinned, 3.9.5 afterwards"


def check_basic_auth(rig):
    """A server with users, below a prefix: with credentials, and told without."""
    if rig.size != "full":
        return "left to --size full"
    server = registry.Mlflow(rig.directory / "mlflow-auth", "/mlflow", basic_auth=True).start()
    try:
        daemon, name, _ = rig.following(*QUIET, server=server, environment={
            "MLFLOW_TRACKING_USERNAME": registry.ADMIN, "MLFLOW_TRACKING_PASSWORD": registry.PASSWORD})
        daemon.start()
        server.alias(name, "champion", server.register(name, {"model.onnx": as_version("3.9.7")}))
        serves(daemon, "3.9.7")
        daemon.end()
        daemon, name, _ = rig.following(*QUIET, server=server)
        daemon.start()
        until("the missing credentials are told", lambda: daemon.says("credentials are needed"))
        expect(daemon.ready()[1]["mlflow_accessible"] is False, "accessible without credentials")
        daemon.end()
        return "3.9.7 with credentials, 401 told without"
    finally:
        server.end()


def check_https(rig):
    """A server that asks for a certificate: with it, and told without."""
    if rig.size != "full":
        return "left to --size full"
    files = registry.certificates(rig.directory / "certificates")
    server = registry.Mlflow(rig.directory / "mlflow-https", certificates=files).start()
    try:
        told = []
        number = None
        for identity in (True, False):
            environment = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(files / "ca.pem")}
            if identity:
                environment["MLFLOW_TRACKING_CLIENT_CERT_PATH"] = str(files / "box.pem")
            daemon, name = rig.new("--model-registry", server.uri, "--model-registry-interval", "1s", "--model-alias",
                                   "champion", *QUIET, environment=environment)
            number = server.register(name, {"model.onnx": as_version("3.9.8")})
            server.alias(name, "champion", number)
            daemon.arguments += ["--model-name", name]
            daemon.start()
            if identity:
                serves(daemon, "3.9.8")
            else:
                time.sleep(4)
                expect(daemon.version() != "3.9.8", "it serves without a certificate")
                expect(daemon.ready()[1]["mlflow_accessible"] is False, "accessible without a certificate")
            told.append(daemon.version())
            daemon.end()
        return f"{told[0]} with a certificate, {told[1]} without"
    finally:
        server.end()


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picket", required=True, type=pathlib.Path)
    parser.add_argument("--size", choices=SWAPS, default="ci")
    parser.add_argument("checks", nargs="*", metavar="CHECK")
    arguments = parser.parse_args()
    for name in arguments.checks:
        if name not in CHECKS:
            parser.error(f"there is no check {name}: {', '.join(CHECKS)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="picket-lifecycle-") as directory:
        rig = Rig(arguments.picket.resolve(), arguments.size, directory)
        try:
            for name in arguments.checks or CHECKS:
                began = time.monotonic()
                try:
                    print(f"ok {name}: {CHECKS[name](rig)} ({time.monotonic() - began:.0f} s)", flush=True)
                except Exception as error:
                    failed += 1
                    print(f"failed {name}: {type(error).__name__}: {error}", flush=True)
                rig.clear()
        finally:
            rig.mlflow.end()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
