"""What people see while a step works: progress with rate and time left, on stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

console = Console(stderr=True)
PLAIN_SECONDS = 15.0  # between two lines of progress where stderr is a file


def _pace(done: float, total: float, seconds: float, unit: str) -> str:
    if done <= 0 or seconds <= 0:
        return f"- {unit}/s"
    rate = done / seconds
    left = (total - done) / rate
    return f"{rate:.3g} {unit}/s, {int(left // 60)}:{int(left % 60):02d} left"


class _Pace(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(_pace(task.completed - task.fields["skipped"], (task.total or 0) - task.fields["skipped"],
                          task.elapsed or 0, self.unit))  # fmt: skip


@contextmanager
def progress(label: str, total: int, unit: str = "items", done: int = 0) -> Iterator[Callable[..., None]]:
    """Shows `label done/total rate left note`. Yields `advance(n=1, note="")`. `done`: finished by an earlier run."""
    if console.quiet or total == 0:
        yield lambda n=1, note="": None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Pace(unit),
                   TextColumn("{task.fields[note]}"))  # fmt: skip
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(label, total=total, completed=done, skipped=done, note="")
            yield lambda n=1, note="": bar.update(task, advance=n, note=note)
    else:
        state = {"done": done, "said": time.monotonic()}
        start = time.monotonic()

        def advance(n: int = 1, note: str = "") -> None:
            state["done"] += n
            now = time.monotonic()
            if state["done"] >= total or now - state["said"] > PLAIN_SECONDS:
                state["said"] = now
                pace = _pace(state["done"] - done, total - done, now - start, unit)
                console.print(f"{label} {state['done']:g}/{total} {pace} {note}", highlight=False, soft_wrap=True)

        yield advance
