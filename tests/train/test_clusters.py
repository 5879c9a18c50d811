"""The commands of docs/clusters.md that two processes on a CPU can run, as written."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"^    torchrun (.*--nproc-per-node 2 .*)$", (ROOT / "docs" / "clusters.md").read_text(), re.M)


def torchrun(words, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "torch.distributed.run", *words]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def folder(tiny, talk, tmp_path):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "backbone").symlink_to(tiny)
    for name in ("alignment", "conversations"):
        (tmp_path / name).symlink_to(talk)
    return tmp_path


@pytest.mark.slow
def test_they_run_as_written(folder):
    for words in map(shlex.split, COMMANDS):
        done = torchrun([*words, "--json"], folder)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["artifact"] == words[-1]  # printed once
    assert len(COMMANDS) == 2


@pytest.mark.slow
def test_a_wrong_call_is_told_once(folder):
    words = shlex.split(COMMANDS[0].replace("alignment", "backbone"))
    done = torchrun(words, folder)
    assert done.returncode == 1
    assert done.stderr.count("error: backbone is of kind model") == 1
