#!/usr/bin/env python3
"""Predictions without a pause, each on a connection of its own, until told to stop.

    load.py HOST:PORT BODY STOP_FILE

Prints `answered N failed M` at the end, and of each failure the first few.
"""

import http.client
import sys
import threading
from pathlib import Path

CLIENTS = 4
# Longer than a restart of the daemon takes.
TIMEOUT_SECS = 30
FAILURES_SHOWN = 5


def main() -> None:
    address, body, stop = sys.argv[1], Path(sys.argv[2]).read_bytes(), Path(sys.argv[3])
    lock = threading.Lock()
    answered = 0
    failures: list[str] = []

    def ask() -> str | None:
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECS)
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "image/png"})
            response = connection.getresponse()
            text = response.read()
            return None if response.status == 200 else f"{response.status} {text[:100]!r}"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def client() -> None:
        nonlocal answered
        while not stop.exists():
            failure = ask()
            with lock:
                answered += failure is None
                if failure:
                    failures.append(failure)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"answered {answered} failed {len(failures)}", *failures[:FAILURES_SHOWN], sep="\n")


if __name__ == "__main__":
    main()
