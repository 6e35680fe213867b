"""A reverse proxy before an HTTP server that spoils what it says: one fault for each matching request, in turn, and
none behind the last.

    cut:N cutchunked:N   the connection is closed after N bytes of the body; chunked, without its length
    short:N              N bytes, and a length that says so
    flip:N               byte N inverted
    stall:N:S            N bytes, then nothing for S seconds, then the end
    slow:N               N bytes a second
    norange wrongrange   Range ignored; answered with bytes that begin one further than they should
    etag chunked         another ETag each time; no length, no ETag and no Range, as before an object store
    html redirect        a captive portal's page; a redirection
    status:N             an answer of this status; Retry-After is 1
    hang:S reset         no answer for S seconds; the connection is reset
    bomb endless         gzip that unpacks to 256 MB; chunks without end
    json:TEXT            this text as JSON
"""
import gzip
import http.client
import http.server
import io
import socket
import struct
import threading
import time

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
UPSTREAM_SECS = 300


class Proxy:
    """Spoils the answers to paths that hold `match`."""

    def __init__(self, upstream):
        self.upstream, self.faults, self.match, self.seen = upstream, [], "", []
        self.lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server.server_address[1]

    def spoil(self, match, *faults):
        with self.lock:
            self.match, self.faults, self.seen = match, list(faults), []

    def asked(self):
        """The requests that matched: (path, Range, fault)."""
        with self.lock:
            return list(self.seen)

    def take(self, path, wanted_range):
        with self.lock:
            if not self.match or self.match not in path:
                return "none"
            fault = self.faults.pop(0) if self.faults else "none"
            self.seen.append((path, wanted_range, fault))
            return fault

    def end(self):
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_GET

    def _head(self, status, headers):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def _reply(self, status, body, kind="text/plain", more=()):
        self._head(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *more])
        self.wfile.write(body)

    def _chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _cut(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, _, argument = self.owner.take(self.path, self.headers.get("Range")).partition(":")
        made_up = getattr(self, f"_make_{kind}", None)
        if made_up is not None:
            made_up(argument)
        else:
            self._pass_on(kind, argument, body)

    def _make_hang(self, argument):
        time.sleep(float(argument))
        self._cut()

    def _make_reset(self, _):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _make_html(self, _):
        self._reply(200, b"<html>log in</html>", "text/html")

    def _make_json(self, argument):
        self._reply(200, argument.encode(), "application/json")

    def _make_redirect(self, _):
        self._reply(302, b"", more=[("Location", "http://127.0.0.1:1/")])

    def _make_status(self, argument):
        self._reply(int(argument), b"spoiled", more=[("Retry-After", "1")])

    def _make_bomb(self, _):
        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
            for _ in range(256):
                file.write(bytes(1 << 20))
        self._reply(200, packed.getvalue(), "application/octet-stream", [("Content-Encoding", "gzip")])

    def _make_endless(self, _):
        self._head(200, [("Content-Type", "application/octet-stream"), ("Transfer-Encoding", "chunked")])
        while True:
            self._chunk(bytes(65536))

    def _pass_on(self, kind, argument, body):
        dropped = HOP | ({"range", "if-range"} if kind in ("norange", "chunked", "cutchunked") else set())
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() not in dropped}
        begins = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        if kind == "wrongrange" and "range" in headers:
            headers["range"] = f"bytes={begins + 1}-"
        connection = http.client.HTTPConnection(self.owner.upstream, timeout=UPSTREAM_SECS)
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            data = answer.read()
        except OSError as error:
            self._reply(502, str(error).encode())
            return
        finally:
            connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
        self._spoilt(kind, argument, answer.status, kept, data, begins)

    def _spoilt(self, kind, argument, status, headers, data, begins):
        if kind == "etag":
            headers = [one for one in headers if one[0].lower() != "etag"] + [("ETag", f'"{time.monotonic_ns()}"')]
        elif kind == "flip":
            at = int(argument) % len(data)
            data = data[:at] + bytes([data[at] ^ 255]) + data[at + 1:]
        elif kind == "short":
            data = data[:int(argument)]
        elif kind == "wrongrange" and status == 206:
            total = next(value for name, value in headers if name.lower() == "content-range").split("/")[1]
            data += b"\0"
            headers = [one for one in headers if one[0].lower() != "content-range"]
            headers.append(("Content-Range", f"bytes {begins}-{int(total) - 1}/{total}"))
        if kind in ("chunked", "cutchunked"):
            self._chunks(kind, argument, status, headers, data)
            return
        self._head(status, [*headers, ("Content-Length", str(len(data)))])
        if kind == "cut":
            self.wfile.write(data[:int(argument)])
            self._cut()
        elif kind == "stall":
            count, _, seconds = argument.partition(":")
            self.wfile.write(data[:int(count)])
            self.wfile.flush()
            time.sleep(float(seconds))
            self._cut()
        elif kind == "slow":
            step = max(1, int(argument) // 10)
            for at in range(0, len(data), step):
                self.wfile.write(data[at:at + step])
                self.wfile.flush()
                time.sleep(0.1)
        else:
            self.wfile.write(data)

    def _chunks(self, kind, argument, status, headers, data):
        without = ("etag", "accept-ranges", "last-modified")
        headers = [one for one in headers if one[0].lower() not in without]
        self._head(status, [*headers, ("Transfer-Encoding", "chunked")])
        count = int(argument) if kind == "cutchunked" else len(data)
        for at in range(0, count, 65536):
            self._chunk(data[at:min(at + 65536, count)])
        if kind == "cutchunked":
            self._cut()
        else:
            self.wfile.write(b"0\r\n\r\n")
