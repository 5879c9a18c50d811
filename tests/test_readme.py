"""The commands of README and docs: each parses; the README's run one after another as written."""

import json
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
NAMES = "(?:run|corpus|instruct|model|delta|train|benchmark|evaluate|chat|summary|verify|trace|impact)"


def commands(path, begin="^ *", end="$"):
    lines = re.findall(rf"{begin}(llavamed {NAMES} .+?){end}", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


COMMANDS = commands(ROOT / "README.md")
DOCS = [words for name in ("sources.md", "benchmarks.md") for words in commands(ROOT / "docs" / name, r"\| `", r"` \|")]
DOCS += commands(ROOT / "docs" / "teacher.md") + commands(ROOT / "docs" / "chat.md")
for name in ("delta.md", "models.md", "summary.md", "trace.md"):
    DOCS += commands(ROOT / "docs" / name)
FORMATS = commands(ROOT / "docs" / "formats.md")
DOCS += commands(ROOT / "docs" / "clusters.md", "-m ") + FORMATS
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


def test_those_of_formats_run_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    Image.effect_noise((60, 60), 60).save("pictures/1_F1.png")
    turns = [{"from": "human", "value": "What is shown?\n<image>"}, {"from": "gpt", "value": "There is a round mass."}]
    Path("llava.json").write_text(json.dumps([{"id": "1_F1", "image": "1_F1.png", "conversations": turns}]))
    for words in FORMATS:
        app(words, standalone_mode=False)
    (folder,) = {words[words.index("-o") + 1] for words in FORMATS if "messages" in words}
    assert (Path(folder) / "data/train.jsonl").is_file()
    assert json.loads(Path("as-it-was/data/train.json").read_text()) == json.loads(Path("llava.json").read_text())
