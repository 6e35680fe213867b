"""Posts one picture after the other over four connections, each as strict record, until the answers end.

`strict.py ADDRESS PICTURE FILE`: FILE gets a line with the number of each acknowledged record, at once.
"""

import http.client
import json
import sys
import threading

CLIENTS = 4
# Longest wait for an answer, seconds: the plug is pulled in the middle of one.
ANSWER_MAX = 20


def post(address, picture, acknowledge):
    try:
        connection = http.client.HTTPConnection(address, timeout=ANSWER_MAX)
        while True:
            connection.request("POST", "/predict?durable=true", picture, {"Content-Type": "image/png"})
            answer = json.loads(connection.getresponse().read())
            if not answer.get("durable"):
                print(f"strict.py: not durable: {answer}", file=sys.stderr)
                return
            acknowledge(answer["id"])
    except (OSError, http.client.HTTPException, ValueError):
        pass


def main():
    address, picture, path = sys.argv[1:]
    with open(picture, "rb") as file:
        picture = file.read()
    with open(path, "w", encoding="ascii", buffering=1) as lines:
        lock = threading.Lock()

        def acknowledge(number):
            with lock:
                lines.write(f"{number}\n")

        threads = [threading.Thread(target=post, args=(address, picture, acknowledge)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


main()
