"""Progress: its rate and time left, and that it fits a terminal of 80 columns."""

import io

import pytest
from rich.console import Console

from llavamed import console


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (125.9, "2:05"), (3599, "59:59"), (3725, "1:02:05")])
def test_a_clock(seconds, shown):
    assert console.clock(seconds) == shown


def test_the_pace():
    assert console._pace(0, 10, 5, "files") == "- files/s"
    assert console._pace(5, 10, 2, "files") == "2.5 files/s, 0:02 left"
    assert console._pace(24_000, 360_000, 5, "tokens") == "4,800 tokens/s, 1:10 left"


def test_a_note_leaves_room_for_the_rest(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=screen, force_terminal=True, width=80, color_system=None))
    with console.progress("training (instruct)", 980_000, "tokens") as advance:
        advance(539_000, "loss 2.346, useful 98 %, prefixes 2.4×, MFU 52 %, 61.3 GB")
    lines = screen.getvalue().splitlines()
    assert any("training (instruct)" in line and "539000/980000" in line and " left" in line for line in lines)
    assert any(line.strip() == "loss 2.346, useful 98 %, prefixes 2.4×, MFU 52 %, 61.3 GB" for line in lines)
