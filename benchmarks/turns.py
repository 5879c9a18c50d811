"""Two trainings in one process by turns: each takes an optimizer step while the other waits."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Turns:
    """The clock of each side: `seconds[name]` are those of its steps. A side is a thread of that name."""

    def __init__(self, names: list[str]) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self._left = list(names)  # whose turn it is, then the others
        self._ready: set[str] = set()
        self._since: dict[str, float] = {}
        self._change = threading.Condition()

    def begin(self) -> None:
        """Start this side's clock, at its turn; the first turn begins when all are ready."""
        me = threading.current_thread().name
        with self._change:
            self._ready.add(me)
            self._change.notify_all()
            self._change.wait_for(lambda: self._ready.issuperset(self._left) and self._left[0] == me)
        self._since[me] = time.perf_counter()

    def step(self) -> None:
        """Note a step, and wait until it is this side's turn again."""
        me = threading.current_thread().name
        if me not in self._since:
            return
        self.seconds[me].append(time.perf_counter() - self._since[me])
        with self._change:
            self._left.append(self._left.pop(0))
            self._change.notify_all()
        self.begin()

    def end(self) -> None:
        """Leave the rest to the other side."""
        with self._change:
            self._left.remove(threading.current_thread().name)
            self._change.notify_all()


def by_turns(sides: dict[str, Callable[[Turns], Any]]) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Run each side in a thread of its own: what they return, and the seconds of their steps.

    A side calls `begin` when what is to be timed begins. Every step of an optimizer of PyTorch ends a turn.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    turns = Turns(list(sides))

    def run(name: str, side: Callable[[Turns], Any]) -> Any:
        threading.current_thread().name = name
        try:
            return side(turns)
        finally:
            turns.end()

    hook = register_optimizer_step_post_hook(lambda *_: turns.step())
    try:
        with ThreadPoolExecutor(len(sides)) as threads:
            futures = {name: threads.submit(run, name, side) for name, side in sides.items()}
            return {name: future.result() for name, future in futures.items()}, turns.seconds
    finally:
        hook.remove()
