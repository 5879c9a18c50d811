"""A chat server as light as can be, for timing clients: it answers each request after a fixed time, always alike.

    python benchmarks/chat_stub.py [--delay 0.2]      # prints its URL

The answer is one of sixteen conversations, by a checksum of what is asked; tokens are counted as a fixed share of the
bytes, plus some that the checksum decides.
"""

import argparse
import asyncio
import json
import zlib

WORDS = ("pale", "dark", "rounded", "narrow", "broad", "bright", "grey", "smooth", "curved", "oval", "faint", "dense")
SEEN = (
    "There is a {} area with a sharp border.",
    "Beside it runs a {} line that ends in the tissue.",
    "The part below looks {} and even.",
    "Further out the structures are {} and lie close together.",
    "A {} rim surrounds all of them.",
)


def _reply(number: int, asked: int) -> bytes:
    turns = []
    for first in range(2 + number % 4):
        words = (WORDS[(number + first * 3 + i) % len(WORDS)] for i in range(0, 9, 2))
        seen = [text.format(word) for text, word in zip(SEEN, words, strict=True)]
        question = f"What is seen at the {('top', 'bottom', 'left', 'right', 'centre')[first]} of the image?"
        turns.append({"question": question, "answer": " ".join(seen[: 1 + (number + first) % len(SEEN)])})
    text = json.dumps({"turns": turns})
    reply = {
        "model": "stub",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": asked, "completion_tokens": len(text) // 4},
    }
    body = json.dumps(reply).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Stub(asyncio.Protocol):
    """One connection. Requests come one after another, each with its Content-Length."""

    def __init__(self, delay: float) -> None:
        self.delay, self.heard = delay, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data
        head = self.heard.find(b"\r\n\r\n")
        if head < 0:
            return
        place = self.heard.lower().find(b"content-length:", 0, head)
        length = int(self.heard[place + 15 : self.heard.find(b"\r", place)])
        if len(self.heard) < head + 4 + length:
            return
        sum_ = zlib.crc32(self.heard[head + 4 :])
        self.heard.clear()
        reply = _reply(sum_ % 16, int(length / 4.4) + sum_ % 97)
        asyncio.get_running_loop().call_later(self.delay, self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(reply)


async def serve(delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Stub(delay), "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.2)
    asyncio.run(serve(parser.parse_args().delay))
