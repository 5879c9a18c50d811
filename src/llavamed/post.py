"""POST to one HTTP server, many requests at once, over connections that stay open. Little work for each: a sixth of a
millisecond, where a full HTTP client takes several.

Proxies and certificates are the environment's: HTTPS_PROXY, HTTP_PROXY, NO_PROXY; SSL_CERT_FILE, SSL_CERT_DIR.
"""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

LARGEST = 64_000_000  # bytes of an answer
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Reply:
    """What the server answered; names of `headers` in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Poster:
    """Posts to `url`, each time with `headers`. Redirects are not followed."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._secure else 80)
        proxy = None if self._host in LOOPBACK or proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
        self._proxy = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
        self._context = ssl.create_default_context() if self._secure else None
        self._idle: list[Stream] = []
        by_proxy = self._proxy is not None and not self._secure
        lines = [f"POST {url if by_proxy else parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += self._proxy_key() if by_proxy else []
        self._head = "\r\n".join([*lines, "Accept-Encoding: identity", "Content-Length: "]).encode("latin-1")

    async def post(self, body: bytes) -> Reply:
        """Raises OSError: nobody there, or the connection broke; ValueError: what answers does not speak HTTP."""
        reader, writer = self._waiting() or await self._open()
        try:
            writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
            reply, stays = await _read(reader)
        except (EOFError, asyncio.LimitOverrunError) as error:
            writer.transport.abort()
            cut = isinstance(error, EOFError)
            raise (ConnectionError("the answer was cut short") if cut else ValueError("no HTTP")) from None
        except BaseException:  # of a time-out too
            writer.transport.abort()
            raise
        if stays:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return reply

    def close(self) -> None:
        """Close the connections that are open."""
        while self._idle:
            self._idle.pop()[1].close()

    def _waiting(self) -> Stream | None:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    async def _open(self) -> Stream:
        if self._proxy is None:
            return await asyncio.open_connection(self._host, self._port, ssl=self._context)
        reader, writer = await asyncio.open_connection(self._proxy.hostname, self._proxy.port or 80)
        if self._context is not None:
            try:
                await self._tunnel(reader, writer)
            except BaseException:
                writer.transport.abort()
                raise
        return reader, writer

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"CONNECT {host}:{self._port} HTTP/1.1", f"Host: {host}:{self._port}", *self._proxy_key()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        status, _ = _head(await reader.readuntil(b"\r\n\r\n"))
        if status != 200:
            raise ConnectionError(f"the proxy {self._proxy.hostname} answers {status}")  # type: ignore[union-attr]
        await writer.start_tls(self._context, server_hostname=self._host)  # type: ignore[arg-type]

    def _proxy_key(self) -> list[str]:
        if self._proxy is None or not self._proxy.username:
            return []
        pair = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return [f"Proxy-Authorization: Basic {b64encode(pair.encode()).decode()}"]


async def _read(reader: asyncio.StreamReader) -> tuple[Reply, bool]:
    """The reply, and whether the connection can be used again. Raises ValueError, EOFError, LimitOverrunError."""
    status = 100
    while 100 <= status < 200:
        status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
    stays = "close" not in headers.get("connection", "").lower()
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = await _chunks(reader)
    elif "content-length" in headers:
        body = await reader.readexactly(_size(headers["content-length"], 10))
    elif status in (204, 304):
        body = b""
    else:
        body, stays = await reader.read(LARGEST), False
    return Reply(status, headers, body), stays


def _head(lines: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers. Raises ValueError."""
    first, *rest = lines.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("no HTTP/1.1")
    fields = (line.partition(":") for line in rest if line)
    return int(status[:3]), {name.strip().lower(): value.strip() for name, _, value in fields}


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts, total = [], 0
    while size := _size((await _line(reader)).partition(b";")[0].decode("latin-1"), 16):
        total = _size(str(total + size), 10)
        parts.append(await reader.readexactly(size))
        await _line(reader)
    while (await _line(reader)).strip():  # trailers
        pass
    return b"".join(parts)


async def _line(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n")


def _size(text: str, base: int) -> int:
    size = int(text, base)
    if not 0 <= size <= LARGEST:
        raise ValueError(f"an answer of {size} bytes")
    return size
