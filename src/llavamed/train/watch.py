"""Watching a training: the line of progress, a log of what each step took, curves that redraw themselves, TensorBoard;
and the stop at a loss that is no number.

`loss.jsonl`, written elsewhere, holds what is the same in every run; what differs from run to run is kept here, in
`speed.jsonl`, and is no part of what a model is.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from llavamed import pages, storage
from llavamed.artifact import Job
from llavamed.console import clock, console, progress
from llavamed.errors import Failed, InputError
from llavamed.storage import Json
from llavamed.train import flops, packing, parallel
from llavamed.train.flops import Flops
from llavamed.train.packing import Figure, Lengths
from llavamed.train.tokens import Example

PAGE_SECONDS = 10.0  # at least, between two drawings of the page
RECENT = 20  # steps: what is shown as the speed is their mean
NAMED = 4  # records in a message
SPEED, PAGE = "speed.jsonl", "training.html"
DRAWING = 0.01  # share of the time that may go into it
CURVES = {  # key: title, unit
    "loss": ("Loss", "nats a token"),
    "grad_norm": ("Gradient norm", "before clipping"),
    "lr": ("Learning rate", "learning rate"),
    "tokens_per_second": ("Speed", "tokens/s"),
}


class Size(NamedTuple):
    """A step, in tokens, and its model FLOPs."""

    tokens: int  # that the language model has to compute
    computed: int  # that it computes: with those of ranks that have no row of their own
    alone: int  # that training each conversation by itself would compute
    labelled: int  # that carry loss
    flops: float


def size(rows: Sequence[Sequence[Figure]], lengths: Sequence[Lengths], cost: Flops) -> Size:
    """Of a step of `rows`, of examples as long as `lengths`."""
    figures = [figure for row in rows for figure in row]
    examples = [lengths[index] for figure in figures for index in figure]
    in_rows = [sum(packing.tokens(figure, lengths) for figure in row) for row in rows]
    dealt = [in_rows[row] for rank in parallel.deal(in_rows, parallel.world()) for row, _ in rank]
    labelled = sum(example.labelled for example in examples)
    pairs = sum(packing.pairs(figure, lengths) for figure in figures)
    return Size(
        tokens=sum(in_rows),
        computed=sum(dealt),
        alone=sum(example.prefix + example.rest for example in examples),
        labelled=labelled,
        flops=cost.of(sum(in_rows), labelled, pairs, len(figures)),
    )


@contextmanager
def watch(
    job: Job, title: str, sizes: Sequence[Size], log: list[Json], device: str, board: Path | None = None
) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each step, once its entry (`step, loss, lr, grad_norm`) is the last of `log`.

    `sizes`: of all steps; those in `log` already were computed by an earlier run. Writes `speed.jsonl` and
    `training.html`: to the job's folder while it runs, to the artifact when all steps are done. `board`: a folder for
    TensorBoard's events. Only the first of several ranks watches.
    """
    if not parallel.first():
        yield lambda: None
        return
    log_path, page_path = job.work / SPEED, job.work / PAGE
    speed = _read(log_path, len(log))
    peak, before = flops.peak(device), time.monotonic()
    next_page = before
    console.print(f"curves, while it trains: {page_path}", highlight=False, soft_wrap=True)
    tokens = [one.tokens for one in sizes]
    with (
        progress(title, sum(tokens), "tokens", done=sum(tokens[: len(log)])) as advance,
        log_path.open("a", encoding="utf-8") as stream,
        _board(board, len(log)) as write,
    ):

        def step_done() -> None:
            nonlocal before, next_page
            now, took = time.monotonic(), sizes[len(log) - 1]
            speed.append(_measured(len(log), took, now - before, peak and peak * parallel.world(), device))
            stream.write(json.dumps(speed[-1]) + "\n")
            stream.flush()
            write(log[-1] | speed[-1])
            if now >= next_page:
                storage.write_text(page_path, page(title, log, speed, sizes, state="running"))
                next_page = now + max(PAGE_SECONDS, (time.monotonic() - now) / DRAWING)
            advance(took.tokens, _note(log, speed))
            before = now

        try:
            yield step_done
        except BaseException:
            storage.write_text(page_path, page(title, log, speed, sizes, state="stopped"))
            raise
    storage.write_text(job.out / SPEED, "".join(json.dumps(entry) + "\n" for entry in speed))
    storage.write_text(job.out / PAGE, page(title, log, speed, sizes, state="done"))


def page(title: str, log: list[Json], speed: list[Json], sizes: Sequence[Size], *, state: str) -> str:
    """The training on a page: numbers and curves. `state`: running (it loads itself anew), stopped or done."""
    took = {entry["step"]: entry for entry in speed}
    entries = [entry | took.get(entry["step"], {}) for entry in log]
    charts = []
    for key, (name, unit) in CURVES.items():
        points = [(entry["step"], entry[key]) for entry in entries if key in entry]
        charts.append(
            pages.lines(name, {"each step": points} if key == "lr" else pages.with_mean(points), "step", unit)
        )
    said, table = f"Step {len(log):,} of {len(sizes):,}: {state}", []
    if speed:
        left = sum(one.tokens for one in sizes[len(log) :]) / _recent(speed)["tokens_per_second"]
        said += f", about {clock(left)} left" if state == "running" else ""
        table.append(pages.table("At the last step", ["what", "value", "how"], _numbers(log, speed), numeric=[1]))
    sections = [("Curves", [pages.row(*charts[:2]), pages.row(*charts[2:])]), ("Numbers", table)]
    refresh = int(PAGE_SECONDS) if state == "running" else 0
    return pages.page(title[:1].upper() + title[1:], sections, f"{said}.", refresh=refresh)


def _numbers(log: list[Json], speed: list[Json]) -> list[tuple[str, str, str]]:
    recent = _recent(speed)
    mean = f"mean of the last {len(speed[-RECENT:])} steps"
    mfu = [("MFU", f"{100 * recent['mfu']:.1f} %", f"model FLOPs over the GPU's peak, {mean}")]
    return [
        ("loss", f"{log[-1]['loss']:.4f}", "nats a token of the assistant's, last step"),
        ("gradient norm", f"{log[-1]['grad_norm']:.3g}", "before clipping, last step"),
        ("speed", f"{recent['tokens_per_second']:,.0f} tokens/s", f"without padding, {mean}"),
        ("useful tokens", f"{100 * recent['useful']:.1f} %", "of those computed"),
        ("shared prefixes", f"{recent['saving']:.2f} ×", "tokens of each conversation by itself, over those computed"),
        *(mfu if recent["mfu"] else []),
        ("peak memory", f"{speed[-1]['memory_bytes'] / 1e9:.2f} GB", "of the first GPU, or of the process on a CPU"),
        ("time", clock(sum(entry["seconds"] for entry in speed)), "of all steps"),
    ]  # fmt: skip


def _note(log: list[Json], speed: list[Json]) -> str:
    """What the line of progress says beside rate and time left."""
    recent = _recent(speed)
    parts = [
        f"loss {log[-1]['loss']:.3f}",
        f"useful {100 * recent['useful']:.0f} %",
        f"prefixes {recent['saving']:.1f}×",
        *([f"MFU {100 * recent['mfu']:.0f} %"] if recent["mfu"] else []),
        f"{speed[-1]['memory_bytes'] / 1e9:.1f} GB",
    ]
    return ", ".join(parts)


def _measured(step: int, size: Size, seconds: float, peak: float | None, device: str) -> Json:
    seconds = max(seconds, 1e-9)
    return {
        "step": step,
        "seconds": round(seconds, 6),
        "tokens": size.tokens,
        "tokens_computed": size.computed,
        "tokens_alone": size.alone,
        "tokens_per_second": round(size.tokens / seconds, 3),
        "mfu": peak and round(size.flops / seconds / peak, 5),
        "memory_bytes": peak_memory(device),
    }


def _recent(speed: list[Json]) -> Json:
    last = speed[-RECENT:]
    seconds, useful, computed, alone = (
        sum(entry[key] for entry in last) for key in ("seconds", "tokens", "tokens_computed", "tokens_alone")
    )
    mfu = sum((entry["mfu"] or 0) * entry["seconds"] for entry in last) / seconds
    return {
        "tokens_per_second": useful / seconds,
        "useful": useful / computed,
        "saving": alone / computed,
        "mfu": mfu,
    }


def peak_memory(device: str) -> int:
    """Bytes this process held at most: of the GPU, else of the machine."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def check(job: Job, step: int, loss: float, norm: float, batch: Sequence[tuple[Example, str]]) -> None:
    """Stop before the weights take up a loss, or a norm of the gradient, that is not finite.

    `step`: from 1. `batch`: its examples, each with the key of its picture: saved as `nan-step-N/`, `batch.json` and
    `batch.safetensors` (of example n, `n.ids` and `n.labels`).

    Raises:
        Failed: on every rank; the saved state stays as it was.
    """
    what = "loss" if not math.isfinite(loss) else "norm of the gradient" if not math.isfinite(norm) else ""
    if not what:
        return
    folder = job.work / f"nan-step-{step}"
    if parallel.first():
        _save_batch(folder, step, loss, norm, batch)
    names = ", ".join(example.id for example, _ in batch[:NAMED])
    more = f" and {len(batch) - NAMED} more" if len(batch) > NAMED else ""
    parallel.stop(Failed(
        f"step {step}: the {what} is {loss if what == 'loss' else norm}, of conversations {names}{more} (saved in "
        f"{folder}): lower the learning rate, or leave bad ones out, and train again with --force; if the machine is "
        "to blame, the same command goes on from the last saved state"
    ))  # fmt: skip


def _save_batch(folder: Path, step: int, loss: float, norm: float, batch: Sequence[tuple[Example, str]]) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    tensors = {f"{n}.ids": torch.tensor(example.ids) for n, (example, _) in enumerate(batch)}
    tensors |= {f"{n}.labels": torch.tensor(example.labels) for n, (example, _) in enumerate(batch)}
    save_file(tensors, folder / "batch.safetensors")
    records = [{"id": example.id, "image_sha256": key} for example, key in batch]
    about = {"step": step, "loss": str(loss), "grad_norm": str(norm), "records": records}  # JSON has no NaN
    storage.write_json(folder / "batch.json", about)


def _read(path: Path, steps: int) -> list[Json]:
    """An earlier run's log of the first `steps`. What it holds beyond the saved state is cut off."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:  # a line that a kill cut
            break
    entries = [entry for entry in entries if entry["step"] <= steps]
    storage.write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries))
    return entries


def check_board(board: Path | None) -> None:
    """Raises InputError where TensorBoard is asked for and not there."""
    from importlib.util import find_spec

    if board and not find_spec("tensorboard"):
        raise InputError("--tensorboard needs the package tensorboard: pip install 'llavamed[tensorboard]'")


@contextmanager
def _board(folder: Path | None, done: int) -> Iterator[Callable[[Json], None]]:
    if folder is None:
        yield lambda entry: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=done + 1) as board:

        def write(entry: Json) -> None:
            for key in (*CURVES, "mfu", "memory_bytes"):
                if entry[key] is not None:
                    board.add_scalar(key, entry[key], entry["step"])

        yield write
