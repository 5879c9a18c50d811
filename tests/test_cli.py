"""The command line: help, exit codes, one-line errors."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from llavamed.cli import app

ROOT = Path(__file__).parent.parent
TINY = ROOT / "recipes" / "tiny.yaml"
COMMANDS = {
    " ".join(path): command
    for path, command in (
        ((group, name) if group else (name,), sub)
        for group, members in [("", typer.main.get_command(app).commands)]
        for name, sub in members.items()
    )
}
for group, command in list(COMMANDS.items()):
    if hasattr(command, "commands"):
        del COMMANDS[group]
        COMMANDS.update({f"{group} {name}": sub for name, sub in command.commands.items()})


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from llavamed.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_parses(name):
    said = CliRunner().invoke(app, [*name.split(), "--help"])
    assert said.exit_code == 0
    example = re.search(r"Example: `llavamed ([^`]+)`", COMMANDS[name].help)
    assert example, f"llavamed {name} --help shows no example"
    words = example[1].split()
    assert words[: len(name.split())] == name.split()
    COMMANDS[name].make_context(name, words[len(name.split()) :])  # fails on an option that does not exist


def test_importing_and_help_stay_light():
    heavy = ("torch", "transformers", "pyarrow", "lxml", "aiohttp")
    script = f"import sys, llavamed.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_corpus_instruct_summary_and_pages_never_import_torch():
    script = (
        "import sys, pkgutil, importlib, llavamed\n"
        "for m in pkgutil.walk_packages(llavamed.__path__, 'llavamed.'):\n"
        "    if m.name.split('.')[1] not in ('model', 'train', 'evaluate', 'serve'):\n"
        "        importlib.import_module(m.name)\n"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert said.stdout.strip() == "[]", said.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["corpus", "build", "nowhere", "-o", "out"], "nowhere"),
        (["corpus", "show", "nowhere"], "nowhere"),
        (["corpus", "build", ".", "--languages", "english", "-o", "out"], "english"),
        (["corpus", "build", ".", "--article-types", "case_report", "-o", "out"], "case_report"),
        (["corpus", "fetch", "--inventory", "yesterday", "-o", "out"], "yesterday"),
        (["benchmark", "check", "nowhere"], "nowhere"),
        (["benchmark", "convert", "nowhere", "-o", "out"], "nowhere"),
        (["instruct", "align", "nowhere", "-o", "out"], "nowhere"),
        (["instruct", "generate", "nowhere", "-o", "out"], "nowhere"),
        (["instruct", "generate", "nowhere", "--teacher", "gpt", "-o", "out"], "gpt"),
        (["model", "build", "huge", "-o", "out"], "huge"),
        (["model", "build", "--vision-tower", "here", "-o", "out"], "both"),
        (["model", "export", "nowhere", "-o", "out"], "nowhere"),
        (["train", "nowhere.yaml", "--stage", "align", "--model", "m", "--data", "d", "-o", "out"], "nowhere.yaml"),
        (["train", TINY, "--stage", "align", "--model", "m", "--data", "d"], "-o"),
        (["train", TINY, "--stage", "finetune", "--model", "m", "--data", "d", "-o", "out"], "finetune"),
        (["train", TINY, "--stage", "align", "--model", "nowhere", "--data", "d", "--plan"], "nowhere does not exist"),
        (["train", TINY, "--stage", "align", "--model", ".", "--data", "d", "--plan"], "config.json"),
        (["evaluate", "vqa", "nowhere", "nowhere", "-o", "out"], "nowhere"),
        (["chat", "nowhere", "nothing.png"], "no"),
        (["summary", "write", "nowhere", "-o", "summary.md"], "nowhere"),
        (["verify", "nowhere"], "nowhere"),
        (["run", "nowhere.yaml", "-o", "out"], "nowhere.yaml"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = call(*arguments)
    assert said.returncode == 2, said.stderr
    assert said.stderr.startswith("error: ")
    assert said.stderr.count("\n") == 1
    assert message in said.stderr
    assert list(tmp_path.iterdir()) == [], "a wrong call left something behind"


def test_a_check_that_finds_something_ends_with_1(tmp_path):
    (tmp_path / "questions.csv").write_text("image,question,answer\nscan.png,Is it a CT scan?,no\n")
    said = call("benchmark", "check", tmp_path / "questions.csv", "--json")
    assert (said.returncode, json.loads(said.stdout)["problems"][0]["kind"]) == (1, "missing")
    assert call("benchmark", "check", tmp_path / "questions.csv", "--allow-missing").returncode == 0


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (
            "OSError(errno.ENOSPC, 'No space left on device', 'corpus/data')",
            2,
            "error: corpus/data: No space left on device: free some space and run the same command again\n",
        ),
        (
            "NotADirectoryError(errno.ENOTDIR, 'Not a directory', 'file/corpus')",
            2,
            "error: file/corpus: Not a directory: name another path and run the same command again\n",
        ),
        ("KeyboardInterrupt", 130, "stopped: run the same command again to go on\n"),
    ],
)
def test_what_ends_a_step_is_one_line(raised, code, line):
    script = (
        "import errno, sys, llavamed.verify as a\n"
        f"def ended(*_, **__): raise {raised}\n"
        "a.verify = ended\n"
        "sys.argv = ['llavamed', 'verify', 'corpus']\n"
        "from llavamed.cli import main; main()"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (said.returncode, said.stderr.lstrip("\n")) == (code, line)


def test_a_hash_and_a_list_are_whole_where_they_are_not_seen(capsys):
    from llavamed.cli.options import show

    show({"hash": "a" * 64, "files": ["report.html", "report.md"], "not_stated": [], "counts": {"figures": 3}}, False)
    assert capsys.readouterr().out.splitlines() == [
        "hash        " + "a" * 64, "files       report.html, report.md", "not stated  none", "counts      figures 3",
    ]  # fmt: skip


def test_json_is_the_only_thing_on_stdout(tmp_path):
    from test_artifact import make

    make(tmp_path / "a")
    said = call("verify", tmp_path / "a", "--json")
    assert said.returncode == 0
    assert json.loads(said.stdout) == {"ok": True, "problems": []}
    (tmp_path / "a" / "README.md").write_text("edited")
    said = call("verify", tmp_path / "a", "--json")
    assert said.returncode == 1
    assert json.loads(said.stdout)["problems"] == [{"path": "README.md", "what": "changed"}]
