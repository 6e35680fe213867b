#!/usr/bin/env python3
"""Predictions without a pause, each on a connection of its own, to the addresses that the Service has
at that moment, as kube-proxy would send them.

    load.py API-SERVER TOKEN BODY STOP_FILE

Prints every second, and at the end, what became of them as one line of JSON. `lost` is what the daemon
had accepted and did not answer; `refused` it never saw; for `nowhere` there was no address.
"""
import http.client
import json
import ssl
import sys
import threading
import time
import urllib.request
from pathlib import Path

CLIENTS = 4
TIMEOUT_SECS = 30
# Between two tries while there is no address or it refuses.
PAUSE_SECS = 0.02
API_PORT = 8000


class Endpoints:
    """The Service's ready addresses, followed by a watch."""

    def __init__(self, server: str, token: str) -> None:
        context = ssl._create_unverified_context()
        path = "/api/v1/namespaces/picket/endpoints?watch=true&fieldSelector=metadata.name=picket"
        request = urllib.request.Request(server + path, headers={"Authorization": f"Bearer {token}"})
        self.addresses: list[str] = []
        self.stream = urllib.request.urlopen(request, context=context)
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self) -> None:
        for line in self.stream:
            subsets = json.loads(line)["object"].get("subsets") or []
            self.addresses = [a["ip"] for s in subsets for a in s.get("addresses") or []]


class Tally:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(["answered", "turned_away", "refused", "nowhere", "unlogged", "lost"], 0)
        self.ids: list[int] = []
        self.losses: list[str] = []
        self.last_answer = time.monotonic()
        self.longest_gap = 0.0

    def add(self, what: str, detail: str = "", record: int | None = None) -> None:
        with self.lock:
            self.counts[what] += 1
            if what == "lost":
                self.losses.append(detail)
            if what == "answered":
                now = time.monotonic()
                self.longest_gap = max(self.longest_gap, now - self.last_answer)
                self.last_answer = now
                if record is None:
                    self.counts["unlogged"] += 1
                else:
                    self.ids.append(record)

    def line(self) -> str:
        with self.lock:
            ids = self.ids or [0]
            numbers = {"first_id": min(ids), "last_id": max(ids), "distinct_ids": len(set(ids)),
                       "longest_gap_secs": round(self.longest_gap, 1)}
            return json.dumps(self.counts | numbers | {"losses": self.losses[:3]}, separators=(",", ":"))


def ask(address: str, body: bytes, tally: Tally) -> bool:
    """Whether there was somebody to ask."""
    connection = http.client.HTTPConnection(address, API_PORT, timeout=TIMEOUT_SECS)
    try:
        connection.connect()
    except OSError:
        tally.add("refused")
        return False
    try:
        connection.request("POST", "/predict?durable=true", body, {"Content-Type": "image/png"})
        response = connection.getresponse()
        answer = response.read()
        if response.status == 200:
            tally.add("answered", record=json.loads(answer)["id"])
        elif response.status == 503 and response.getheader("Retry-After"):
            tally.add("turned_away")
        else:
            tally.add("lost", f"{response.status} {answer[:100]!r}")
    except (OSError, http.client.HTTPException) as error:
        tally.add("lost", repr(error))
    finally:
        connection.close()
    return True


def main() -> None:
    server, token, body, stop = *sys.argv[1:3], Path(sys.argv[3]).read_bytes(), Path(sys.argv[4])
    endpoints, tally = Endpoints(server, token), Tally()

    def client(turn: int) -> None:
        while not stop.exists():
            addresses = endpoints.addresses
            if not addresses:
                tally.add("nowhere")
            elif ask(addresses[turn % len(addresses)], body, tally):
                turn += 1
                continue
            time.sleep(PAUSE_SECS)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while not stop.exists():
        time.sleep(1)
        print(tally.line(), flush=True)
    for thread in threads:
        thread.join()
    print(tally.line())


if __name__ == "__main__":
    main()
