"""What a set of conversations will take, in tokens and money, from what a sample of it took."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, astuple, dataclass

from llavamed.request import Outcome, Request
from llavamed.storage import Json

SAMPLE = 32  # requests
CHARACTERS = 4.0  # a token, where the server counts none


@dataclass(frozen=True)
class Prices:
    """Of a million tokens that are sent, and of a million that come back; None: not stated."""

    sent: float | None = None
    received: float | None = None

    def of(self, tokens: Sequence[float]) -> float | None:
        """The price of so many tokens sent and received."""
        if self.sent is None and self.received is None:
            return None
        return ((self.sent or 0) * tokens[0] + (self.received or 0) * tokens[1]) / 1e6


@dataclass(frozen=True)
class Estimate:
    """Tokens of all `requests`. `sample`: of how many of them the server's counts are known."""

    requests: int
    sample: int
    prompt: int
    completion: int

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def describe(self, prices: Prices) -> Json:
        """As a result shows it; `price` where prices were stated."""
        price = prices.of((self.prompt, self.completion))
        return asdict(self) | ({} if price is None else {"price": round(price, 4)})


def size(request: Request) -> int:
    """Characters of a request."""
    return sum(len(message["content"]) for message in request.messages)


def estimate(requests: Collection[Request], sample: Sequence[Request], outcomes: Sequence[Outcome]) -> Estimate:
    """The tokens of `requests`, from the `outcomes` of a `sample` of them.

    Tokens sent grow with characters, at the sample's rate, replies asked for again included; received ones are the
    sample's mean. A server that counts nothing is taken to have CHARACTERS a token.
    """
    counted = [(size(request), o.tokens) for request, o in zip(sample, outcomes, strict=True) if sum(o.tokens)]
    total, n = sum(map(size, requests)), len(requests)
    if not counted:
        said = sum(len(outcome.text) for outcome in outcomes) / max(1, len(outcomes))
        return Estimate(n, 0, round(total / CHARACTERS), round(n * said / CHARACTERS))
    sent = sum(tokens[0] for _, tokens in counted) / sum(characters for characters, _ in counted)
    received = sum(tokens[1] for _, tokens in counted) / len(counted)
    return Estimate(n, len(counted), round(total * sent), round(n * received))
