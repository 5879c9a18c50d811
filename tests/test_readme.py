"""The commands of README and docs: each parses; the README's run one after another as written."""

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
NAMES = "(?:run|corpus|instruct|model|delta|train|benchmark|evaluate|chat|summary|verify)"


def commands(path, begin="^ *", end="$"):
    lines = re.findall(rf"{begin}(llavamed {NAMES} .+?){end}", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


COMMANDS = commands(ROOT / "README.md")
DOCS = [words for name in ("sources.md", "benchmarks.md") for words in commands(ROOT / "docs" / name, r"\| `", r"` \|")]
DOCS += commands(ROOT / "docs" / "teacher.md") + commands(ROOT / "docs" / "chat.md")
DOCS += commands(ROOT / "docs" / "delta.md")
DOCS += commands(ROOT / "docs" / "clusters.md", "-m ")
TRAINING = [words for words in commands(ROOT / "docs" / "training.md") if "RECIPE" not in words]
DOCS += TRAINING


@pytest.mark.parametrize("words", COMMANDS + DOCS, ids=" ".join)
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
    (tmp_path / "questions.csv").write_text("image,question,answer\nscan.png,Is it a CT scan?,no\n")
    for words in COMMANDS + TRAINING:  # those of the second are of the first, and a plan
        if words[0] != "run":  # the demo recipe has a test of its own
            subprocess.run([sys.executable, "-c", "from llavamed.cli import main; main()", *words], check=True)
