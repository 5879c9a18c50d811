"""The README's commands: each parses, and one after another they run as written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image

from llavamed.cli import app

ROOT = Path(__file__).parent.parent
LINES = re.findall(
    r"^ *(llavamed (?:run|corpus|instruct|model|train|evaluate|chat|summary|verify) .+)$",
    (ROOT / "README.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
COMMANDS = [shlex.split(line, comments=True)[1:] for line in LINES]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_it_parses(words):
    command, names = typer.main.get_command(app), []
    while hasattr(command, "commands"):
        names.append(words[len(names)])
        command = command.commands[names[-1]]
    command.make_context(" ".join(names), words[len(names) :])


@pytest.mark.slow
def test_they_run_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    Image.effect_noise((200, 200), 60).convert("RGB").save("scan.png")
    for words in COMMANDS:
        if words[0] != "run":  # the demo recipe has a test of its own
            subprocess.run([sys.executable, "-c", "from llavamed.cli import main; main()", *words], check=True)
