"""Ask any OpenAI-compatible chat endpoint (OpenAI, Azure, vLLM, llama.cpp, Ollama) many things, none of them twice.

Every reply is in a journal on disk before the next request is sent, under a key that covers all that was asked. The
key of the account comes from the environment (OPENAI_API_KEY) and is written nowhere. Nothing but the endpoint is
contacted: redirects are not followed.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from llavamed import __version__
from llavamed.console import console, progress
from llavamed.errors import InputError, Unfinished
from llavamed.journal import Journal
from llavamed.pace import Pace, now
from llavamed.post import Post, Reply, poster
from llavamed.request import Outcome, Request, Step, next_step
from llavamed.storage import Json
from llavamed.wire import KEY, Refused, account, error_of, estimate, not_taken, read, retry_after

TRIES = 12  # of one request, with what BACKOFF adds up to: about five minutes
FEW_TRIES = 3  # where it may well be the wrong server
BACKOFF, LONGEST_BACKOFF = 0.5, 60.0  # seconds, doubled each time, jittered by half
LONGEST_WAIT = 900.0  # seconds of Retry-After that are waited for
LOST_IN_A_ROW = 5  # requests without an answer after all tries: the server is down
REFUSED_AT_FIRST = 16  # requests refused before any is answered: the fault is not theirs


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, which model, how many requests at once, and the limits of the account."""

    url: str
    model: str
    concurrency: int = 8
    timeout: float = 300.0  # seconds for one answer
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    @property
    def base(self) -> str:
        """The URL under which /chat/completions is.

        Raises:
            InputError: it is none, or holds a key.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{self.url} is no endpoint: name a URL such as http://localhost:8000/v1")
        if "@" in parts.netloc or parts.query:
            raise InputError(
                f"{parts.scheme}://{parts.hostname}: name the endpoint without user, key or query, and set {KEY} "
                "(Azure: https://NAME.openai.azure.com/openai/v1)"
            )
        path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
        return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def ask(
    endpoint: Endpoint,
    requests: Collection[Request],
    journal: Path,
    *,
    check: Callable[[str], str] = lambda text: "",
    label: str = "answers",
) -> Iterator[Outcome]:
    """Ask all `requests` that `journal` has no answer to, then give the outcome of each, in their order.

    `requests` is gone through more than once, so a long one can make them as they are needed. `check` says what is
    wrong with a reply ("" if nothing); the model is then told so and asked again, up to REMINDERS times.

    Raises:
        InputError: nothing answers there, or wrongly; the key, the model or the path is wrong; all is refused.
        Unfinished: some were not answered this time. What was answered is kept.
    """
    book = Journal(journal)
    asyncio.run(_ask_all(endpoint, requests, book, check, label))
    return _outcomes(endpoint.model, requests, book, check)


def _outcomes(
    model: str, requests: Collection[Request], book: Journal, check: Callable[[str], str]
) -> Iterator[Outcome]:
    for request in requests:
        step, outcome = next_step(request, model, book, check)
        if step is None:
            yield outcome
    book.close()


async def _ask_all(
    endpoint: Endpoint, requests: Collection[Request], book: Journal, check: Callable[[str], str], label: str
) -> None:
    def waiting(answered: Callable[[], None]) -> Iterator[tuple[Request, Step]]:
        for request in requests:
            step = next_step(request, endpoint.model, book, check)[0]
            if step is None:
                answered()
            else:
                yield request, step

    # Counted for the progress alone, so not where few can be answered: it takes as long as making the requests.
    counted = len(book) * 10 > len(requests)
    done = len(requests) - sum(1 for _ in waiting(lambda: None)) if counted else 0
    if done == len(requests):
        return
    key, kind = account(), "application/json"
    headers = {"Content-Type": kind, "Accept": kind, "User-Agent": f"llavamed/{__version__}"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    with progress(label, len(requests), "answers", done=done) as advance:
        async with poster(f"{endpoint.base}/chat/completions", headers, endpoint.timeout) as post:
            run = _Run(endpoint, post, book, check, advance)
            left = waiting((lambda: None) if counted else advance)
            await run.work(islice(left, 1))  # the first alone: a wrong call is seen at once
            await asyncio.gather(*(run.work(left) for _ in range(endpoint.concurrency)))
            await run.finish()


class _Again(Exception):
    """No answer this time. `wait`: what the server asked for, in seconds."""

    def __init__(self, detail: str, wait: float = 0.0, tries: int = TRIES) -> None:
        super().__init__(detail)
        self.wait, self.tries = wait, tries


class _Wrong(_Again):
    """What a wrong URL gives too: seldom tried again, and then the end."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, tries=FEW_TRIES)


class _Run:
    """The requests of one run: what they share is how the server behaves."""

    def __init__(
        self, endpoint: Endpoint, post: Post, book: Journal, check: Callable[[str], str], advance: Callable[..., None]
    ) -> None:
        self.endpoint, self.post, self.book, self.check, self.advance = endpoint, post, book, check, advance
        self.answered = len(book) > 0
        self.reached = False
        self.without: set[str] = set()
        self.held: list[Json] = []  # refusals that are the server's fault if nothing is ever answered
        self.lost = self.lost_in_a_row = 0
        self.trouble = ""
        self.not_before = 0.0
        self.requests = Pace(endpoint.requests_per_minute)
        self.tokens = Pace(endpoint.tokens_per_minute)
        self.used = self.guessed = 0.0  # tokens

    async def work(self, requests: Iterator[tuple[Request, Step]]) -> None:
        """Ask one after another until there are none left."""
        for request, first in requests:
            step: Step | None = first
            while step is not None:
                try:
                    fact = await self._answer(step)
                except Refused as error:
                    await self._refuse({"key": step.key, "id": request.id, "refused": str(error)})
                    self.advance()
                    break
                except _Again as error:
                    self._lose(error)
                    break
                self.answered, self.lost_in_a_row = True, 0
                held, self.held = self.held, []
                await self.book.record(*held, {"key": step.key, "id": request.id} | fact)
                bad = self.check(fact["text"]) != ""
                step = next_step(request, self.endpoint.model, self.book, self.check)[0] if bad else None
            else:
                self.advance()

    async def finish(self) -> None:
        """Raises InputError, Unfinished: as `ask`."""
        if self.held and not self.answered:
            raise self._nothing_answered()
        await self.book.record(*self.held)
        if self.lost:
            raise self._unfinished(f"{self.lost} requests had no answer ({self.trouble})")

    async def _refuse(self, fact: Json) -> None:
        if self.answered:
            await self.book.record(fact)
            return
        self.held.append(fact)
        if len(self.held) >= REFUSED_AT_FIRST:
            raise self._nothing_answered()

    def _lose(self, error: _Again) -> None:
        if isinstance(error, _Wrong):
            raise InputError(f"{self.endpoint.base}: {error}")
        self.lost, self.lost_in_a_row, self.trouble = self.lost + 1, self.lost_in_a_row + 1, str(error)
        if not self.answered or self.lost_in_a_row >= LOST_IN_A_ROW:
            raise self._unfinished(self.trouble)

    async def _answer(self, step: Step) -> Json:
        """Raises Refused; _Again: not after all tries."""
        attempt = 0
        while True:
            await self._turn(step.body)
            try:
                return await self._post(step)
            except _Again as error:
                attempt += 1
                if attempt >= error.tries:
                    raise
                wait = min(LONGEST_BACKOFF, BACKOFF * 2 ** (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311
                if error.wait:
                    self.not_before = max(self.not_before, now() + error.wait)  # it speaks of the account
                await asyncio.sleep(max(wait, error.wait + wait / 10 if error.wait else 0))

    async def _turn(self, body: Json) -> None:
        while (wait := self.not_before - now()) > 0:
            await asyncio.sleep(wait)
        await self.requests.take(1)
        await self.tokens.take(self._tokens(body))

    def _tokens(self, body: Json) -> float:
        """What it may take, by what the requests so far took."""
        return estimate(body) * (self.used / self.guessed if self.used else 1)

    async def _post(self, step: Step) -> Json:
        """Raises Refused, _Again; InputError, Unfinished: no request can be answered."""
        without = frozenset(self.without)
        try:
            reply = await self.post(step.sent(without))
            self.reached = True
            if reply.status >= 300:
                return await self._status(reply, step, without)
            fact = read(reply.body)
        except TimeoutError:
            why = f"no answer within {self.endpoint.timeout:g} s: allow it more time"
            raise _Again(why, tries=TRIES if self.answered else FEW_TRIES) from None
        except OSError as error:
            if self.reached:
                raise _Again(f"the connection broke ({error})") from None
            raise _Wrong(f"nothing answers there ({error}): start the server, or correct the URL") from None
        except ValueError:
            if self.answered:
                raise _Again("an answer that was no chat completion") from None
            raise _Wrong("what answers there is no chat endpoint: correct the URL") from None
        guess = self._tokens(step.body)
        self.tokens.settle(sum(fact["tokens"]) - guess)
        self.used, self.guessed = self.used + sum(fact["tokens"]), self.guessed + estimate(step.body)
        return fact | {"without": sorted(without)}

    async def _status(self, reply: Reply, step: Step, without: frozenset[str]) -> Json:
        """What to do about an answer with an error status to `step`, sent `without` some fields."""
        status, error = reply.status, error_of(reply.body)
        said, code = error["message"], f"{error['code']} {error['type']}"
        wait = retry_after(reply.headers)
        if status == 401 or (status == 403 and not self.answered):
            raise InputError(f"{self.endpoint.base}: {status} {said}: set {KEY} to a key that it takes")
        if status == 404:
            raise InputError(f"{self.endpoint.base}: 404 {said}: correct the URL or the model ({self.endpoint.model})")
        if 300 <= status < 400:
            to = reply.headers.get("location", "elsewhere")
            raise InputError(f"{self.endpoint.base}: it sends on to {to}: name that URL if you trust it")
        if status == 429 and "insufficient_quota" in code:
            raise self._unfinished(f"429 {said}: the account is used up")
        if wait > LONGEST_WAIT:
            raise self._unfinished(f"{status} {said}: it asks to come back in {wait / 60:.0f} minutes")
        if status in (408, 409, 425, 429) or status >= 500:
            raise _Again(f"{status} {said}", wait)
        if name := not_taken(error, step.body.keys() - without):
            if name not in self.without:
                self.without.add(name)
                console.print(f"{self.endpoint.base} does not take {name}: left out", highlight=False, soft_wrap=True)
            return await self._post(step)
        raise Refused(f"{status} {said}")

    def _nothing_answered(self) -> InputError:
        refused = self.held[-1]["refused"]
        return InputError(f"{self.endpoint.base}: all of the first {len(self.held)} requests were refused: {refused}")

    def _unfinished(self, why: str) -> Unfinished:
        return Unfinished(f"{self.endpoint.base}: {why}; {len(self.book)} answers are kept: run the same command again")
