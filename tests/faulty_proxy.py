"""A server between a client and an S3 server: it logs every request and spoils some, the same ones for a seed."""

import http.client
import json
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

FAULTS = ("500", "503", "slow", "stall", "cut", "wrong", "reset")


@dataclass
class FaultyProxy:
    """`rate` of the requests meet one of `faults`. `always`: part of a path -> the fault it always meets.

    `log`: (path, fault or "", seconds) of each request, in order. `ids`: what a search finds.
    """

    backend: str
    rate: float = 0.0
    seed: int = 0
    faults: tuple[str, ...] = FAULTS
    always: dict[str, str] = field(default_factory=dict)
    ids: list[int] = field(default_factory=list)
    log: list[tuple[str, str, float]] = field(default_factory=list)

    def __enter__(self) -> "FaultyProxy":
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def paths(self, since: int = 0) -> list[str]:
        return [path for path, _, _ in self.log[since:]]

    def faults_met(self) -> int:
        return sum(fault != "" for _, fault, _ in self.log)

    def choose(self, path: str) -> tuple[str, random.Random]:
        """The fault of this request: of its path and how often it was asked, so that threads do not matter."""
        with self._lock:
            count = self._counts[path] = self._counts.get(path, 0) + 1
            rng = random.Random(f"{self.seed} {path} {count}")
            fault = rng.choice(self.faults) if rng.random() < self.rate else ""
            fault = next((f for part, f in self.always.items() if part in path), fault)
            self.log.append((unquote(path), fault, time.monotonic()))
        return fault, rng


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:  # a client that was killed
        pass


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        fault, rng = self.proxy.choose(self.path)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if fault == "tomorrow":
            self._answer(503, {"Retry-After": "86400"}, b"<Error/>")
            return
        if fault.isdigit():
            headers = {"Retry-After": "1"} if fault == "503" else {}
            self._answer(int(fault), headers, b"<Error/>")
            return
        if fault.startswith("to:"):
            self._answer(307, {"Location": fault.removeprefix("to:")}, b"")
            return
        if "esearch.fcgi" in self.path:
            status, headers, body = 200, {}, self._search()
        else:
            status, headers, body = self._pass_on()
        if fault == "wrong" and "ETag" in headers and body:
            place = rng.randrange(len(body))
            body = body[:place] + bytes([body[place] ^ (1 << rng.randrange(8))]) + body[place + 1 :]
        if fault == "same" and body:  # wrong, and each time the same
            body = bytes([body[0] ^ 1]) + body[1:]
        self._answer(status, headers, body, fault)

    def _pass_on(self) -> tuple[int, dict[str, str], bytes]:
        backend = urlsplit(self.proxy.backend)
        connection = http.client.HTTPConnection(backend.hostname, backend.port, timeout=30)
        connection.request("GET", self.path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        kept = {name: value for name, value in response.getheaders() if name in ("ETag", "Content-Type")}
        return response.status, kept, body

    def _search(self) -> bytes:
        """What E-utilities answer."""
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        start, size = int(query.get("retstart", 0)), int(query.get("retmax", 20))
        ids = [str(x) for x in self.proxy.ids[start : start + size]]
        result = {"count": str(len(self.proxy.ids)), "retmax": str(len(ids)), "retstart": str(start), "idlist": ids,
                  "webenv": "MCID_1", "querykey": "1"}  # fmt: skip
        return json.dumps({"header": {"type": "esearch"}, "esearchresult": result}).encode()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "stall":  # longer than any client waits
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(3)
            self.close_connection = True
        elif fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault == "slow":
            for place in range(0, len(body), max(1, len(body) // 4)):
                self.wfile.write(body[place : place + max(1, len(body) // 4)])
                time.sleep(0.05)
        else:
            self.wfile.write(body)
