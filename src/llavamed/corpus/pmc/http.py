"""A polite HTTP client: a bounded number of requests at once, each tried a few times, none sent to another host."""

import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from llavamed import __version__
from llavamed.corpus.problem import Problem
from llavamed.storage import PART

T = TypeVar("T")
CONNECT, READ = 10.0, 30.0  # seconds: to connect; without a byte
GRACE, SLOWEST = 60.0, 2_000  # a transfer may be slower than so many bytes a second for so many seconds
TRIES = 8
FIRST, LONGEST = 0.5, 30.0  # seconds of the first and of the longest pause between two tries
PATIENCE = 300.0  # seconds a server may ask to be left alone
SAME = 3  # times the same wrong bytes must come to be what the server holds
_AGAIN = (408, 425, 429)  # these and 5xx may be otherwise next time; what else is no success is an answer
_REDIRECTS = 5
_SHORT = 65_536  # bytes of an error's text
_MD5_LENGTH = 32  # hex digits
_random = random.SystemRandom()


class Failed(Exception):
    """No answer that can be relied on, however often it was tried."""


class _Again(Exception):
    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class Body:
    """What came: its bytes, unless they went to a file; digests in hex; `checked`: by "md5", "etag" or not ("no")."""

    data: bytes
    size: int
    md5: str
    sha256: str
    etag: str
    checked: str


class Client:
    """GET requests by up to `concurrency` threads. `requests`, `retries`, `bytes`: done so far."""

    def __init__(self, *, concurrency: int = 8, contact: str = "") -> None:
        agent = f"llavamed/{__version__}" + (f" ({contact})" if contact else "")
        self._options: dict[str, Any] = {
            "num_pools": 1, "maxsize": concurrency, "retries": False,
            "timeout": urllib3.Timeout(connect=CONNECT, read=READ),
            "headers": {"User-Agent": agent, "Accept-Encoding": "identity"},
        }  # fmt: skip
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._quiet_until = 0.0
        self.requests = self.retries = self.bytes = 0

    def read(self, url: str, limit: int, parse: Callable[[bytes], T]) -> T:
        """What `parse` makes of the answer, of at most `limit` bytes; asked again where it raises ValueError.

        Raises:
            Problem: missing, refused, redirected, too_large: an answer, and not the one that was wanted.
            Failed: no answer after all tries.
        """
        return self._try(lambda: self._parsed(url, limit, parse))

    def get(self, url: str, limit: int) -> Body:
        """The bytes at `url`, checked against the ETag where that is an MD5.

        Raises:
            Problem: as `read`, and wrong_md5: the same wrong bytes came three times.
            Failed: as `read`.
        """
        wrong: Counter[str] = Counter()
        return self._try(lambda: self._checked(url, limit, None, "", wrong))

    def save(self, url: str, path: Path, limit: int, md5: str = "") -> Body:
        """Write the bytes at `url` to `path`, all of them or none, checked against `md5` or, without it, the ETag.

        Raises:
            Problem, Failed: as `get`.
        """
        wrong: Counter[str] = Counter()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}{PART}")

        def once() -> Body:
            with part.open("wb") as stream:
                body = self._checked(url, limit, stream, md5, wrong)
                stream.flush()
                os.fsync(stream.fileno())
            return body

        try:
            body = self._try(once)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return body

    def stop(self) -> None:
        """End what is under way at its next pause: the run is over."""
        self._stopped.set()

    def _try(self, once: Callable[[], T]) -> T:
        why = ""
        for attempt in range(TRIES):
            if attempt:
                self._count(retries=1)
            self._wait(self._quiet_until - time.monotonic())
            try:
                return once()
            except _Again as error:
                why = str(error)
                if error.wait is not None and error.wait > PATIENCE:
                    raise Failed(f"{why}, to be asked again in {error.wait:.0f} s") from None
                if error.wait is not None:  # the service asks for it: no thread asks sooner
                    self._quiet_until = max(self._quiet_until, time.monotonic() + error.wait)
                if attempt + 1 < TRIES:
                    # Full jitter (AWS Architecture Blog 2015, "Exponential backoff and jitter").
                    self._wait(_random.uniform(0, min(LONGEST, FIRST * 2**attempt)))
        raise Failed(f"{why}, {TRIES} times tried")

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(max(0.0, seconds)):
            raise Failed("the run was stopped")

    def _parsed(self, url: str, limit: int, parse: Callable[[bytes], T]) -> T:
        body = self._once(url, limit, None)
        try:
            return parse(body.data)
        except ValueError as error:
            raise _Again(f"no answer that can be read ({error})") from None

    def _checked(self, url: str, limit: int, into: IO[bytes] | None, md5: str, wrong: Counter[str]) -> Body:
        body = self._once(url, limit, into)
        want = md5 or (body.etag if is_md5(body.etag) else "")
        if want and want.lower() != body.md5:
            wrong[body.md5] += 1
            if wrong[body.md5] == SAME:
                raise Problem("wrong_md5", f"MD5 {body.md5}, not {want}")
            raise _Again("wrong MD5")
        checked = "md5" if md5 else "etag" if want else "no"
        return Body(body.data, body.size, body.md5, body.sha256, body.etag, checked)

    def _once(self, url: str, limit: int, into: IO[bytes] | None) -> Body:
        try:
            response = self._ask(url)
            try:
                return self._receive(response, limit, into)
            except BaseException:
                response.close()
                raise
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise _Again(_name(error)) from None

    def _ask(self, url: str) -> urllib3.BaseHTTPResponse:
        for _ in range(_REDIRECTS):
            self._count(requests=1)
            response = self._pool(url).request("GET", url, redirect=False, preload_content=False)
            if response.status == 200:
                return response
            _discard(response)
            target = urljoin(url, response.headers.get("Location", ""))
            if response.status not in (301, 302, 303, 307, 308):
                raise _answer(response)
            if _origin(target) != _origin(url):
                raise Problem("redirected", f"to {urlsplit(target).netloc or 'nowhere'}: not followed")
            url = target
        raise Problem("redirected", "without end")

    def _receive(self, response: urllib3.BaseHTTPResponse, limit: int, into: IO[bytes] | None) -> Body:
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > limit:
            raise Problem("too_large", f"{int(length):,} bytes; at most {limit:,}")
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        kept, size, start = bytearray(), 0, time.monotonic()
        while data := response.read1(1 << 16, decode_content=False):
            size += len(data)
            if size > limit:
                raise Problem("too_large", f"over {limit:,} bytes")
            md5.update(data)
            sha256.update(data)
            if into is None:
                kept += data
            else:
                into.write(data)
            seconds = time.monotonic() - start
            if seconds > GRACE and size < SLOWEST * seconds:
                raise _Again("too slow")
        if length.isdecimal() and size != int(length):
            raise _Again("cut short")
        self._count(bytes_=size)
        etag = response.headers.get("ETag", "").strip('"').lower()
        if response.headers.get("x-amz-server-side-encryption", "").startswith("aws:"):
            etag = f"{etag}-kms"  # of an object encrypted by a key service it is no MD5
        return Body(bytes(kept), size, md5.hexdigest(), sha256.hexdigest(), etag, "no")

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Connections to the host of `url`, by way of the proxy that the user's environment names, if any."""
        scheme, host = origin = _origin(url)
        with self._lock:
            if origin not in self._pools:
                proxy = "" if proxy_bypass(host) else getproxies().get(scheme, "")
                options = self._options
                self._pools[origin] = (
                    urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
                )
            return self._pools[origin]

    def _count(self, requests: int = 0, retries: int = 0, bytes_: int = 0) -> None:
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.bytes += bytes_


def is_md5(etag: str) -> bool:
    """Whether an ETag is the MD5 of the object: that of one uploaded in parts is not."""
    return len(etag) == _MD5_LENGTH and all(c in "0123456789abcdef" for c in etag.lower())


def _discard(response: urllib3.BaseHTTPResponse) -> None:
    """Done with an answer: its connection serves again if little is left to read."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) <= _SHORT:
        response.drain_conn()
    else:
        response.close()


def _answer(response: urllib3.BaseHTTPResponse) -> Exception:
    what = f"HTTP {response.status}"
    if response.status in _AGAIN or response.status >= 500:
        return _Again(what, _retry_after(response.headers.get("Retry-After", "")))
    return Problem("missing" if response.status in (404, 410) else "refused", what)


def _retry_after(value: str) -> float | None:
    """Seconds to wait, from a Retry-After header: seconds or a date (RFC 9110, section 10.2.3)."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _name(error: Exception) -> str:
    """A connection's error in few words."""
    inner = getattr(error, "reason", None)
    return f"{type(error).__name__}: {inner or error}"[:200]
