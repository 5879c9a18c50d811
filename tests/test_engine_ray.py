"""Shards as tasks of a Ray cluster: two nodes on this machine."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from corpus.packages import package
from llavamed import artifact
from llavamed.corpus import build as corpus
from llavamed.engine import map_shards
from llavamed.errors import InputError
from llavamed.verify import rehash

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster():
    """RAY_ADDRESS of two nodes of one processor each; their workers can import this file and the sources."""
    pytest.importorskip("ray")
    paths = [str(ROOT / "src"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        nodes = Cluster()
        for _ in range(2):
            nodes.add_node(num_cpus=1, object_store_memory=80_000_000, include_dashboard=False)
        patch.setenv("RAY_ADDRESS", nodes.address)
        nodes.connect()  # once for all tests; the killed driver connects for itself
        yield nodes
        nodes.shutdown()


def square(n: int) -> int:
    return n * n


def fail(n: int) -> int:
    raise InputError(f"shard {n}")


def die(folder: Path, n: int) -> int:
    """Killed, the first time that shard 3 is run."""
    if n == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def always_die(n: int) -> int:
    os._exit(9)


def node(seconds: float) -> str:
    import ray

    time.sleep(seconds)
    return ray.get_runtime_context().get_node_id()


def test_every_shard_once_on_both_nodes(cluster):
    assert sorted(map_shards(square, range(20), engine="ray")) == [n * n for n in range(20)]
    assert len(set(map_shards(node, [0.2] * 6, engine="ray"))) == 2


def test_bounded_in_flight(cluster):
    asked = []
    results = map_shards(square, (asked.append(n) or n for n in range(100)), engine="ray")
    next(results)
    assert len(asked) <= 4
    results.close()


def test_an_error_reaches_the_caller_as_it_is(cluster):
    with pytest.raises(InputError, match=r"^shard"):
        list(map_shards(fail, range(5), engine="ray"))


def test_the_shard_of_a_killed_worker_is_run_again(cluster, tmp_path):
    assert sorted(map_shards(partial(die, tmp_path), range(6), engine="ray")) == list(range(6))
    assert (tmp_path / "died").exists()


def test_a_shard_that_always_kills_is_told(cluster):
    with pytest.raises(RuntimeError, match="worker died 3 times"):
        list(map_shards(always_die, range(1), engine="ray"))


def test_relative_paths(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("here").touch()
    assert list(map_shards(Path.exists, [Path("here")], engine="ray")) == [True]


BUILD = """
import sys
from pathlib import Path
from test_engine_ray import build_on_ray
build_on_ray(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def build_on_ray(source: Path, folder: Path) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact, "run_shards", partial(artifact.run_shards, engine="ray"))
        patch.setattr(corpus, "SHARD", 1)
        return corpus.build([source], folder)


def test_the_driver_killed_and_started_again(cluster, tmp_path, monkeypatch):
    for n in range(1, 41):
        package(tmp_path / "src", f"PMC{n}", n=1)
    monkeypatch.setattr(corpus, "SHARD", 1)
    whole = corpus.build([tmp_path / "src"], tmp_path / "local")["hash"]
    out = tmp_path / "ray"
    driver = subprocess.Popen([sys.executable, "-c", BUILD, tmp_path / "src", out])
    until = time.monotonic() + 60
    while not any((out / ".job").glob("shards/*.json")) and time.monotonic() < until:
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    assert not (out / "manifest.json").exists()
    done = len(list((out / ".job" / "shards").glob("*.json")))
    assert 0 < done < 40
    assert build_on_ray(tmp_path / "src", out)["hash"] == whole
    assert rehash(out) == []


def test_a_folder_that_a_node_does_not_see(tmp_path):
    package(tmp_path / "src", "PMC1")
    job = artifact.start(tmp_path / "out", "corpus", {})
    with pytest.raises(InputError, match="storage that all machines share"):
        artifact.run_shards(job, square, [1], {}, reads=[tmp_path / "elsewhere"])
    (job.work / "job.json").write_text('{"started": "another"}')
    with pytest.raises(InputError, match="out is not seen by"):
        artifact.run_shards(job, square, [1], {})


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'llavamed\[ray\]'"):
        list(map_shards(square, range(2), engine="ray"))


def test_no_cluster_there(monkeypatch):
    ray = pytest.importorskip("ray")
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match="no Ray cluster at RAY_ADDRESS=127"):
        list(map_shards(square, range(2), engine="ray"))


def test_an_unknown_engine():
    with pytest.raises(InputError, match="the engines are local, ray"):
        list(map_shards(square, range(2), engine="spark"))
