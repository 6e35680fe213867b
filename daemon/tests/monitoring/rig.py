#!/usr/bin/env python3
"""Breaks a running daemon in real ways and follows each alert from Prometheus to whoever is told.

    rig.py --picket FILE --freeze FILE

A real Prometheus with the shipped rules and a real Alertmanager with the shipped routes watch the
production binary, whose log lies on a small disk of its own. One line `ok NAME: what was seen` for each
check. --freeze is picket-freeze of the package picket-testkit. Needs root, for the disk and to stop a
thread; prometheus, prometheus-alertmanager and e2fsprogs; of Python the standard library only. Takes
three to four minutes.
"""
import argparse
import contextlib
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from parts import (HASTE, PROJECT, SHIPPED, Alertmanager, Clients, Daemon, Disk, Failed, Prometheus, Receiver,
                   Registry, hasten, wait_until)

# RestartSec of the unit; a process's start is known to the second only.
RESTART_SECS = 2
RECEIVERS = {"critical": "pager", "warning": "tickets", "info": None}

# Not broken by the rig: what the machine itself is like.
SURROUNDINGS = {"PicketClockUnsynchronised"}

# The queries that the daemon's users had before there were rules.
SEED_QUERIES = [
    "rate(inference_predictions_total[1m])",
    "rate(inference_errors_total[1m]) / rate(inference_predictions_total[1m])",
    "rate(logging_defects_total[1m]) / rate(logging_predictions_total[1m])",
    "inference_model_loaded",
    "logging_db_initialized",
]


def ok(name: str, seen: str) -> None:
    print(f"ok {name}: {seen}", flush=True)


def check(what: str, *command: str, given: str | None = None) -> None:
    """Runs a checker that must find nothing."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=SHIPPED)
    said = done.stdout + done.stderr
    # Of promtool check metrics not only the status counts: what it prints are findings.
    if done.returncode != 0 or (given is not None and said.strip()):
        raise Failed(f"{what}: {said}")
    ok(what, " ".join(command))


def check_files() -> None:
    check("generated files are those of their sources", sys.executable, "generate.py", "--check")
    check("rules", "promtool", "check", "rules", "rules.yml")
    check("rules against series that fire and that must not", "promtool", "test", "rules", "rules_test.yml")
    for config in ("prometheus.yml", "prometheus-k3s.yml"):
        check(config, "promtool", "check", "config", config)
    check("alertmanager.yml", "amtool", "check-config", "alertmanager.yml")


class Rig:
    def __init__(self, picket: str, freeze: str, work: pathlib.Path, ends: contextlib.ExitStack):
        """`ends` takes down what has been put up, whatever happens."""
        self.work, self.freeze = work, freeze
        self.disk = Disk(work)
        ends.callback(self.disk.close)
        self.registry = Registry()
        self.daemon = Daemon(picket, self.disk.path, work, self.registry)
        ends.callback(self.daemon.stop)
        self.daemon.start()
        self.daemon.wait_ready()
        self.clients = Clients(self.daemon)
        ends.callback(self.clients.stop)
        self.receiver = Receiver()
        self.alertmanager = Alertmanager(work, self.receiver)
        ends.callback(self.alertmanager.stop)
        self.prometheus = Prometheus(work, self.daemon, self.alertmanager)
        ends.callback(self.prometheus.stop)
        for part in (self.alertmanager, self.prometheus):
            part.wait_ready()

    def say_haste(self) -> None:
        """What runs here beside what is shipped."""
        for name in ("rules.yml", "alertmanager.yml"):
            shipped = (SHIPPED / name).read_text()
            least = 1 if name == "alertmanager.yml" else 0
            changed = {(was.strip(), now.strip()) for was, now in zip(shipped.splitlines(),
                       hasten(shipped, least).splitlines()) if was != now}
            print(f"{name}, {HASTE} times faster, {len(changed)} kinds of lines:")
            for was, now in sorted(changed):
                print(f"    {was}  ->  {now}")

    # What is seen of an alert.

    def firing(self) -> set[str]:
        return {name for name, alert in self.prometheus.alerts().items() if alert["state"] == "firing"}

    def expect(self, names: list[str], broken: float, mark: int) -> None:
        """Each is first pending, where it has to last, then fires, and its receiver is told."""
        pending = {}
        for name in names:
            def has_fired(name=name):
                alerts = self.prometheus.alerts()
                for alert, standing in alerts.items():
                    if standing["state"] == "pending":
                        pending.setdefault(alert, time.monotonic() - broken)
                found = alerts.get(name)
                return found if found and found["state"] == "firing" else None
            alert = wait_until(f"{name} fires", has_fired)
            fired = time.monotonic() - broken
            receiver = RECEIVERS[alert["labels"]["severity"]]
            where = "known to Alertmanager, for nobody"
            if receiver is None:
                wait_until(f"{name} at Alertmanager", lambda: self.alertmanager.knows(name))
            else:
                found = wait_until(f"{name} at its receiver", lambda: self.receiver.of(name, "firing", mark))
                if found != receiver:
                    raise Failed(f"{name} went to {found}, not to {receiver}")
                where = f"{receiver} told after {time.monotonic() - broken:.1f} s"
            first = f"pending after {pending[name]:.1f} s, " if name in pending else ""
            summary = alert["annotations"]["summary"].replace(self.prometheus.target, "BOX")
            ok(name, f"{first}firing after {fired:.1f} s, {where}: {summary}")

    def expect_gone(self, names: list[str], mended: float, mark: int) -> None:
        for name in names:
            wait_until(f"{name} resolves", lambda: name not in self.prometheus.alerts())
            if any((alert, state) == (name, "firing") for _, alert, state, _ in self.receiver.told[mark:]):
                wait_until(f"{name} resolved at its receiver", lambda: self.receiver.of(name, "resolved", mark))
            ok(f"{name} resolved", f"{time.monotonic() - mended:.1f} s after the mending")

    def only(self, *allowed: str) -> None:
        others = self.firing() - set(allowed) - SURROUNDINGS
        if others:
            raise Failed(f"fires beside {allowed}: {others}")

    def suppressed(self, name: str) -> None:
        wait_until(f"{name} fires", lambda: name in self.firing())
        wait_until(f"{name} is held back", lambda: self.alertmanager.suppressed(name))
        ok(name, "firing, and held back by Alertmanager: another alert has said it")

    # What is done to the daemon.

    def healthy(self) -> None:
        wait_until("the first scrapes", lambda: self.prometheus.query("instance:inference_predictions:rate5m > 0"))
        wait_until("commits", lambda: "picket_stage_duration_seconds_count{stage=\"commit\"} 0\n"
                   not in self.daemon.metrics())
        check("metrics", "promtool", "check", "metrics", given=self.daemon.metrics())
        for query in SEED_QUERIES:
            found = wait_until(query, lambda: self.prometheus.query(query))
            ok(query, f"{len(found)} series, {float(found[0]['value'][1]):.4g}")
        self.dashboard()
        self.runbooks()
        self.only()
        ok("a box that is well", "nothing fires")

    def dashboard(self) -> None:
        queries = subprocess.run([sys.executable, SHIPPED / "generate.py", "--queries"], check=True,
                                 capture_output=True, text=True).stdout.splitlines()
        for query in queries:
            query = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
            wait_until(f"the dashboard's {query}", lambda: self.prometheus.query(query), 20)
        ok("dashboard", f"{len(queries)} queries, none of them empty")

    def runbooks(self) -> None:
        """Every alert has what its reader needs, and the runbook that it names."""
        book = (PROJECT / "docs" / "runbooks.md").read_text()
        anchors = {heading.lower() for heading in re.findall(r"^## (\w+)$", book, re.MULTILINE)}
        alerts = [rule for group in self.prometheus.rule_groups() for rule in group["rules"]
                  if rule["type"] == "alerting"]
        for rule in alerts:
            name, notes = rule["name"], rule["annotations"]
            if rule["labels"].get("severity") not in RECEIVERS or not notes.get("summary"):
                raise Failed(f"{name} has no severity or no summary")
            if notes.get("runbook") != f"docs/runbooks.md#{name.lower()}" or name.lower() not in anchors:
                raise Failed(f"{name} has no runbook")
        left = anchors - {rule["name"].lower() for rule in alerts}
        if left:
            raise Failed(f"runbooks of no alert: {left}")
        ok("runbooks", f"{len(alerts)} alerts, each with severity, summary and runbook")

    def registry_gone(self) -> None:
        """Broken here, and looked at later: the daemon asks every 30 s."""
        self.registry.stop()
        self.registry_broken = time.monotonic(), len(self.receiver.told)

    def registry_back(self) -> None:
        self.expect(["PicketRegistryUnreachable"], *self.registry_broken)
        self.registry.start()
        self.registry_mended = time.monotonic(), self.registry_broken[1]

    def registry_forgotten(self) -> None:
        self.expect_gone(["PicketRegistryUnreachable"], *self.registry_mended)

    def bad_clients(self) -> None:
        broken, mark = time.monotonic(), len(self.receiver.told)
        self.clients.say_nonsense()
        names = ["PicketRequestsRejected"]
        self.expect(names, broken, mark)
        self.only(*names, "PicketRegistryUnreachable")
        ok("bad requests", "no other alert: a client's error is none of ours")
        self.clients.say_defect()
        mended = time.monotonic()
        self.expect(["PicketHighDefectRate"], mended, mark)
        self.expect_gone(names, mended, mark)
        self.clients.say_good()
        self.expect_gone(["PicketHighDefectRate"], time.monotonic(), mark)

    def crowd(self) -> None:
        """More connections than there may be, again and again."""
        broken, mark = time.monotonic(), len(self.receiver.told)
        names = ["PicketConnectionsTurnedAway"]
        crowd = []

        def press() -> bool:
            # As many as there are places, so that some find none.
            crowd.extend(socket.create_connection(("127.0.0.1", self.daemon.api), 5) for _ in range(8))
            del crowd[:-64]
            return bool(self.firing() & set(names))
        wait_until("connections are turned away", press)
        self.expect(names, broken, mark)
        for connection in crowd:
            connection.close()
        self.expect_gone(names, time.monotonic(), mark)

    def hoard(self) -> None:
        """Bodies that arrive and do not end, until there is memory for no other: of many addresses, as one alone
        never gets so far."""
        broken, mark = time.monotonic(), len(self.receiver.told)
        names = ["PicketMemoryShort"]
        # An eighth of what bodies may have, from each address twice; 413 would be the answer to a larger one.
        head = (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
                b"Content-Length: 500000\r\n\r\n")
        enough = threading.Event()

        def press(host: int) -> None:
            while not enough.is_set():
                with contextlib.suppress(OSError), socket.create_connection(
                        ("127.0.0.1", self.daemon.api), 5, (f"127.0.0.{host}", 0)) as connection:
                    connection.sendall(head + bytes(400_000))
                    # Until it is refused, or came too slowly.
                    connection.recv(4096)
                enough.wait(0.1)
        pressing = [threading.Thread(target=press, args=[host]) for host in range(2, 10) for _ in range(2)]
        for each in pressing:
            each.start()
        try:
            self.expect(names, broken, mark)
        finally:
            enough.set()
            for each in pressing:
                each.join()
        self.expect_gone([*names, "PicketConnectionsTurnedAway"], time.monotonic(), mark)

    def stalled_reader(self) -> None:
        """Nobody reads what the daemon says; it says much, and goes on."""
        broken, mark = time.monotonic(), len(self.receiver.told)
        self.daemon.listening.clear()
        self.daemon.config.write_text("unheard_of = 1 # " + "x" * 100 + "\n")
        names = ["PicketLinesLost"]

        def press() -> bool:
            for _ in range(200):
                self.daemon.complain()
                time.sleep(0.002)
            return bool(self.firing() & set(names))
        wait_until("lines are lost", press)
        self.expect(names, broken, mark)
        if not self.daemon.answers_health():
            raise Failed("/health fails while nobody reads the log")
        self.daemon.config.write_text("# nothing is set here\n")
        self.daemon.listening.set()
        self.expect_gone(names, time.monotonic(), mark)

    def full_disk(self) -> None:
        broken, mark = time.monotonic(), len(self.receiver.told)
        self.disk.fill()
        names = ["PicketLogNotWritable"]
        self.expect(names, broken, mark)
        for held_back in ("PicketNotReady", "PicketDiskFilling"):
            self.suppressed(held_back)
        names += ["PicketRecordsNotLogged", "PicketNotReady"]
        self.only(*names, "PicketDiskFilling", "PicketRestartLoop", "PicketRegistryUnreachable")
        self.disk.free()
        # The forecast believes in the filled disk for a while yet; its end is seen at the end of all.
        self.expect_gone(names, time.monotonic(), mark)

    def frozen_worker(self) -> None:
        broken, mark = time.monotonic(), len(self.receiver.told)
        freeze = subprocess.Popen([self.freeze, str(self.daemon.process.pid), "worker-0", "300"])
        names = ["PicketNearMiss", "PicketQueueSaturated", "PicketUnhealthy"]
        try:
            self.expect(names, broken, mark)
        finally:
            # Who traces and ends lets go.
            freeze.kill()
            freeze.wait()
        self.expect_gone(names, time.monotonic(), mark)

    def damaged_memory(self) -> None:
        broken, mark = time.monotonic(), len(self.receiver.told)
        golden = (PROJECT / "daemon/crates/classifier/embedded/golden.logits").read_text().split()
        places = self.daemon.damage_model([float(each) for each in golden])
        if not places:
            raise Failed("the golden sample's logits are nowhere in the daemon's memory")
        names = ["PicketHighErrorRate", "PicketUnhealthy"]
        self.expect(names, broken, mark)
        # What the service manager would do.
        self.daemon.kill()
        self.daemon.start()
        self.expect_gone(names, time.monotonic(), mark)

    def killed_and_slow_to_load(self) -> None:
        broken, mark = time.monotonic(), len(self.receiver.told)
        self.daemon.kill()
        self.expect(["PicketDown"], broken, mark)
        # A model that comes through a pipe: the daemon loads for as long as nothing comes.
        pipe = self.work / "model.onnx"
        subprocess.run(["mkfifo", pipe], check=True)
        self.daemon.start("--model-path", str(pipe))
        mended = time.monotonic()
        self.expect_gone(["PicketDown"], mended, mark)
        self.expect(["PicketModelNotLoaded"], mended, mark)
        pipe.write_bytes((PROJECT / "daemon/crates/classifier/embedded/cifar10-int8.onnx").read_bytes())
        self.expect_gone(["PicketModelNotLoaded"], time.monotonic(), mark)

    def restart_loop(self) -> None:
        broken, mark = time.monotonic(), len(self.receiver.told)
        for _ in range(3):
            seen = self.start_time()
            self.daemon.kill()
            time.sleep(RESTART_SECS)
            self.daemon.start()
            wait_until("a scrape of the new daemon", lambda: self.start_time() not in (None, seen))
        self.expect(["PicketRestartLoop"], broken, mark)
        self.loop_ended = time.monotonic(), mark

    def restart_loop_forgotten(self) -> None:
        """Looked at later, as its window is long."""
        self.expect_gone(["PicketRestartLoop"], *self.loop_ended)

    def start_time(self) -> str | None:
        found = self.prometheus.query("process_start_time_seconds")
        return found[0]["value"][1] if found else None

    def not_scraped(self) -> None:
        broken, mark = time.monotonic(), len(self.receiver.told)
        self.prometheus.drop_targets()
        self.expect(["PicketAbsent"], broken, mark)
        self.prometheus.restore_targets()
        self.expect_gone(["PicketAbsent"], time.monotonic(), mark)

    def clock(self) -> None:
        """Nobody breaks the machine's clock here: the alert says what the daemon says."""
        follows = "\npicket_clock_synchronised 1\n" in self.daemon.metrics()
        if not follows:
            wait_until("PicketClockUnsynchronised at tickets",
                       lambda: self.receiver.of("PicketClockUnsynchronised", "firing", 0) == "tickets")
        elif "PicketClockUnsynchronised" in self.prometheus.alerts():
            raise Failed("the clock follows a time source, and the alert says otherwise")
        ok("PicketClockUnsynchronised", "silent, as the clock is synchronised" if follows
           else "firing, tickets told: this machine's clock follows no time source")

    def run(self) -> None:
        self.say_haste()
        self.healthy()
        self.registry_gone()
        self.bad_clients()
        self.restart_loop()
        self.crowd()
        self.hoard()
        self.stalled_reader()
        self.full_disk()
        self.restart_loop_forgotten()
        self.registry_back()
        self.frozen_worker()
        self.registry_forgotten()
        self.damaged_memory()
        self.killed_and_slow_to_load()
        self.not_scraped()
        self.clock()
        wait_until("peace", lambda: not self.firing() - SURROUNDINGS)
        ok("the end", "nothing fires any more")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--picket", required=True, help="the binary")
    arguments.add_argument("--freeze", required=True, help="the program that stops a thread")
    arguments.add_argument("--keep", action="store_true", help="leave configuration and logs behind, and say where")
    chosen = arguments.parse_args()
    started = time.monotonic()
    work = pathlib.Path(tempfile.mkdtemp(prefix="picket-monitoring-"))
    try:
        check_files()
        with contextlib.ExitStack() as ends:
            Rig(str(pathlib.Path(chosen.picket).resolve()), str(pathlib.Path(chosen.freeze).resolve()), work, ends).run()
    except Failed as failure:
        for log in ("picket.log", "prometheus.log", "alertmanager.log"):
            if (work / log).exists():
                print(f"--- end of {log}\n" + "\n".join((work / log).read_text().splitlines()[-15:]), file=sys.stderr)
        sys.exit(f"failed: {failure}")
    finally:
        if chosen.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work)
    ok("all", f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
