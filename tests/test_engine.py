"""The local process pool."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llavamed.engine import map_shards


def square(n: int) -> int:
    return n * n


def fail(n: int) -> int:
    raise ValueError(f"shard {n}")


def die(n: int) -> int:
    os._exit(9)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_shard_once(workers):
    assert sorted(map_shards(square, range(20), workers)) == [n * n for n in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller(workers):
    with pytest.raises(ValueError, match="shard"):
        list(map_shards(fail, range(5), workers))


def test_a_dead_worker_is_told():
    with pytest.raises(RuntimeError, match="worker process died"):
        list(map_shards(die, range(2), 2))


SLEEP = """
import sys, time
sys.path.insert(0, {tests!r})
from test_engine import report_and_sleep
from llavamed.engine import map_shards
if __name__ == "__main__":
    list(map_shards(report_and_sleep, sys.argv[1:], 2))
"""


def report_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "sleep.py"
    script.write_text(SLEEP.format(tests=str(Path(__file__).parent)))
    paths = [tmp_path / "0", tmp_path / "1"]
    parent = subprocess.Popen([sys.executable, script, *paths])
    until = time.monotonic() + 30
    while not all(p.exists() and p.read_text() for p in paths) and time.monotonic() < until:
        time.sleep(0.05)
    workers = [int(p.read_text()) for p in paths]
    parent.kill()
    parent.wait()
    while any(alive(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
