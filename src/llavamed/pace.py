"""Keep to so many a minute."""

import asyncio


class Pace:
    """At most so many a minute, spread evenly; None: no limit."""

    def __init__(self, per_minute: float | None) -> None:
        self.each = 60 / per_minute if per_minute else 0.0  # seconds
        self.free = 0.0

    async def take(self, amount: float) -> None:
        """Wait for the turn of `amount`."""
        current = now()
        start = max(current, self.free)
        self.free = start + amount * self.each
        if start > current:
            await asyncio.sleep(start - current)

    def settle(self, more: float) -> None:
        """It was so much more, or less, than was taken."""
        self.free += more * self.each


def now() -> float:
    """Seconds on the clock of the event loop."""
    return asyncio.get_running_loop().time()
