"""A chat endpoint that always answers the same to the same, logs every request, and spoils some if told to."""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("429", "500", "503", "stall", "cut", "broken")


def said(body: dict[str, Any]) -> str:
    """Of the last message, its text."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@dataclass
class ChatServer:
    """`reply`: body -> text, or (status, error object, headers). `rate` of the requests meet one of `faults`.

    `log`: (body, headers, fault or "") of each request, in order.
    """

    reply: Callable[[dict[str, Any]], Any] = lambda body: f"heard {said(body)}"
    rate: float = 0.0
    seed: int = 0
    faults: tuple[str, ...] = FAULTS
    delay: float = 0.0
    log: list[tuple[dict[str, Any], dict[str, str], str]] = field(default_factory=list)

    def __enter__(self) -> "ChatServer":
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": self}))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def bodies(self, fault: str | None = "") -> list[str]:
        """What was asked, as text; of those that met `fault` (None: any)."""
        return [json.dumps(body, sort_keys=True) for body, _, met in self.log if fault is None or met == fault]

    def choose(self, body: dict[str, Any], headers: dict[str, str]) -> str:
        """The fault of this request: of what is asked and how often, so that threads do not matter."""
        name = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        with self._lock:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            rng = random.Random(f"{self.seed} {name} {count}")
            fault = rng.choice(self.faults) if rng.random() < self.rate else ""
            self.log.append((body, headers, fault))
        return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:  # a client that was killed
        pass


class _Handler(BaseHTTPRequestHandler):
    stub: ChatServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._send(404, {"error": {"message": "no such path", "type": "not_found_error", "code": 404}})
            return
        fault = self.stub.choose(body, {name.lower(): value for name, value in self.headers.items()})
        time.sleep(self.stub.delay)
        if fault.isdigit():
            headers = {"Retry-After": "0.05"} if fault == "429" else {}
            self._send(int(fault), {"error": {"message": "spoilt", "type": "server_error", "code": fault}}, headers)
            return
        answer = self.stub.reply(body)
        if isinstance(answer, tuple):
            self._send(*answer)
            return
        asked = sum(len(str(message["content"])) for message in body["messages"])
        self._send(200, completion(body["model"], answer, asked // 4), fault=fault)

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None, fault: str = "") -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, text)
        if fault == "broken":
            data = data[: len(data) // 2]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault in ("cut", "stall"):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            time.sleep(3 if fault == "stall" else 0)  # longer than the client waits
            self.close_connection = True
        else:
            self.wfile.write(data)


def completion(model: str, text: str, prompt_tokens: int, finish: str = "stop") -> dict[str, Any]:
    """As llama.cpp, vLLM and OpenAI have it."""
    tokens = len(text.split())
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "system_fingerprint": "stub",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
        },
    }
