"""What people see while a step works: progress with rate and time left, on stderr."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

console = Console(stderr=True)
PLAIN_SECONDS = 15.0  # between two lines of progress where stderr is a file


def _pace(done: float, total: float, seconds: float, unit: str) -> str:
    if done <= 0 or seconds <= 0:
        return f"- {unit}/s"
    rate = done / seconds
    shown = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
    return f"{shown} {unit}/s, {clock((total - done) / rate)} left"


def clock(seconds: float) -> str:
    """Seconds as 2:05, or 1:02:05 from an hour on."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class _Pace(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__(Column(no_wrap=True))
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(_pace(task.completed - task.fields["skipped"], (task.total or 0) - task.fields["skipped"],
                          task.elapsed or 0, self.unit))  # fmt: skip


class _Bar(Progress):
    """The note on a line of its own, so that it fits beside nothing else."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield from (Text(task.fields["note"], overflow="ellipsis") for task in self.tasks if task.fields["note"])


@contextmanager
def progress(label: str, total: int, unit: str = "items", done: int = 0) -> Iterator[Callable[..., None]]:
    """Shows `label done/total rate left note`. Yields `advance(n=1, note="")`. `done`: finished by an earlier run."""
    if console.quiet or total == 0:
        yield lambda n=1, note="": None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Pace(unit))
        with _Bar(*columns, console=console) as bar:
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


def table(title: str, headers: Iterable[str], rows: Iterable[tuple[str | int, ...]]) -> Table:
    """A table of counts for the terminal. Its text comes from articles and teachers: never read as markup."""
    shown = Table(title=Text(title, style="bold"), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for n, header in enumerate(headers):
        shown.add_column(header, justify="right" if n and header != "meaning" else "left")
    for row in rows:
        shown.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else cell) for cell in row))
    return shown
