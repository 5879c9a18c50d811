"""The contract of every step: atomic, resumable, the same bytes, and honest about its past."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.verify import rehash

ROWS = {"data": pa.schema([("id", pa.string())]), "excluded": pa.schema([("id", pa.string()), ("reason", pa.string())])}


def double(shard: int) -> tuple[artifact.Tables, artifact.Json]:
    rows = [{"id": f"{shard}-{n}"} for n in range(shard + 1)]
    bad = [{"id": f"{shard}-bad", "reason": "odd"}] if shard % 2 else []
    return {"data/train": rows, "excluded/records": bad}, {"kept": len(rows), "excluded": {"odd": len(bad)}}


def make(folder: Path, workers: int = 1, seed: int = 0, shards: int = 4, force: bool = False, **more) -> artifact.Json:
    job = artifact.start(folder, "numbers", {"seed": seed}, force=force, **more)
    if job.manifest:
        return job.manifest
    facts = artifact.run_shards(job, double, range(shards), ROWS, workers=workers)
    odd = facts["excluded"]["odd"]
    counts = {"records": {"in": facts["kept"] + odd, "kept": facts["kept"], "excluded": {"odd": odd}}}
    return artifact.publish(job, counts=counts, card="# Numbers\n")


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_again_there_is_nothing_to_do(tmp_path):
    first = make(tmp_path / "a")
    before = everything(tmp_path / "a")
    assert make(tmp_path / "a") == first
    assert everything(tmp_path / "a") == before
    assert not (tmp_path / "a" / ".job").exists()


def test_the_hash_is_the_content_and_nothing_else(tmp_path):
    one, two = make(tmp_path / "a"), make(tmp_path / "b", workers=2)
    assert one["hash"] == two["hash"]
    assert make(tmp_path / "c", shards=5)["hash"] != one["hash"]
    command = "find data excluded -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    said = subprocess.run(command, shell=True, cwd=tmp_path / "a", capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == one["hash"]


def test_other_settings_are_refused_unless_forced(tmp_path):
    make(tmp_path / "a", seed=0, shards=6)
    with pytest.raises(InputError, match=r"seed: 0 -> 1.*--force"):
        make(tmp_path / "a", seed=1)
    assert artifact.read_manifest(tmp_path / "a")["settings"] == {"seed": 0}
    replaced = make(tmp_path / "a", seed=1, shards=2, force=True)
    assert replaced["settings"] == {"seed": 1}
    assert len(storage.tables(tmp_path / "a")) == 2, "files of the replaced artifact stayed behind"
    assert rehash(tmp_path / "a") == []


def test_a_stranger_s_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        make(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.txt"]


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    job = artifact.start(tmp_path / "a", "numbers", {})
    script = (
        "import sys, pathlib; from llavamed import artifact; artifact.start(pathlib.Path(sys.argv[1]), 'numbers', {})"
    )
    second = subprocess.run([sys.executable, "-c", script, tmp_path / "a"], capture_output=True, text=True)
    assert "another run is writing here" in second.stderr
    assert job.manifest is None


def test_a_full_disk_is_refused_before_work(tmp_path):
    with pytest.raises(InputError, match="the disk has"):
        artifact.start(tmp_path / "a", "numbers", {}, needs_bytes=10**18)


def test_counts_must_add_up(tmp_path):
    job = artifact.start(tmp_path / "a", "numbers", {})
    with pytest.raises(RuntimeError, match="do not add up"):
        artifact.publish(job, counts={"records": {"in": 3, "kept": 1, "excluded": {"odd": 1}}})


def test_parents_are_embedded_and_checked(tmp_path):
    make(tmp_path / "a")
    child = make(tmp_path / "b", parents=[tmp_path / "a"])
    assert child["parents"][0]["manifest"] == artifact.read_manifest(tmp_path / "a")
    assert rehash(tmp_path / "b") == []
    path = tmp_path / "b" / "manifest.json"
    edited = json.loads(path.read_text())
    edited["parents"][0]["manifest"]["counts"]["records"]["kept"] += 1
    path.write_text(json.dumps(edited))
    assert rehash(tmp_path / "b") == [{"path": "manifest.json:parents[0]", "what": "changed"}]


def test_verify_names_what_changed(tmp_path):
    make(tmp_path / "a")
    (tmp_path / "a" / "data" / "train-00001.parquet").write_bytes(b"x")
    (tmp_path / "a" / "data" / "train-00002.parquet").unlink()
    found = rehash(tmp_path / "a")
    assert found == [
        {"path": "data/train-00001.parquet", "what": "changed"},
        {"path": "data/train-00002.parquet", "what": "missing"},
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        artifact.read_manifest(tmp_path)


# Killed at the n-th file that settles into place, whichever that is, a second run gives the same bytes.
KILL = """
import os, signal, sys
from pathlib import Path
from llavamed import artifact
sys.path.insert(0, {tests!r})
from test_artifact import make
left = int(sys.argv[2])
real = os.replace
def replace(source, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = replace
make(Path(sys.argv[1]), seed=int(sys.argv[3]), force=True, shards=3)
"""


@pytest.mark.parametrize("over_an_old_one", [False, True])
def test_killed_at_any_moment_the_same_bytes(tmp_path, over_an_old_one):
    want = make(tmp_path / "want", seed=1, shards=3)
    script = KILL.format(tests=os.fspath(Path(__file__).parent))
    for moment in range(0, 24, 3):
        folder = tmp_path / str(moment)
        if over_an_old_one:
            make(folder, seed=0, shards=5)
        killed = subprocess.run([sys.executable, "-c", script, folder, str(moment), "1"], capture_output=True)
        finished = killed.returncode == 0
        assert finished or killed.returncode == -signal.SIGKILL, killed.stderr
        assert make(folder, seed=1, shards=3, force=not finished)["hash"] == want["hash"]
        assert rehash(folder) == []
        assert not (folder / ".job").exists()
        assert len(storage.tables(folder)) == 3


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
)
def test_sums_do_not_depend_on_order(left, right):
    assert artifact.add(left, right) == artifact.add(right, left)
    assert sum(artifact.add(left, right).values()) == sum(left.values()) + sum(right.values())
    assert artifact.add({"n": left}, {"n": right}) == {"n": artifact.add(left, right)}


def test_a_folder_that_is_no_such_artifact_is_told_by_its_remedy(tmp_path):
    """A run names the folder in it, an interrupted step its command, another kind what makes the right one."""
    run = tmp_path / "run"
    for name, kind in {"assistant": "model", "corpus": "corpus"}.items():
        artifact.publish(artifact.start(run / name, kind, {}), counts={})
    for kinds, says in {
        ("model",): f"{run} is a run: name {run}/assistant",
        ("corpus",): f"{run} is a run: name {run}/corpus",
        ("conversations",): "no manifest.json.*: make one with `llavamed instruct generate`",
        (): f"{run} is a run: name {run}/corpus, or another",
    }.items():
        with pytest.raises(InputError, match=says):
            artifact.require(run, *kinds) if kinds else artifact.read_manifest(run)
    with pytest.raises(InputError, match="kind model; this step reads corpus: make one with `llavamed corpus build`"):
        artifact.require(run / "assistant", "corpus")
    artifact.pause(artifact.start(tmp_path / "cut", "model", {}))
    with pytest.raises(InputError, match=r"cut is not finished: .* interrupted: start the same command again"):
        artifact.require(tmp_path / "cut", "model")


def test_commands_that_take_any_model_tell_a_run(tmp_path):
    from llavamed.evaluate.models import fingerprint
    from llavamed.model.inspect import describe
    from llavamed.model.tensors import tensors_of

    artifact.publish(artifact.start(tmp_path / "assistant", "model", {}), counts={})
    artifact.publish(artifact.start(tmp_path / "set", "conversations", {}), counts={})
    for read in (fingerprint, describe, tensors_of):
        with pytest.raises(InputError, match=r"is a run: name .*/assistant"):
            read(tmp_path)
        with pytest.raises(InputError, match="of kind conversations; this step reads model"):
            read(tmp_path / "set")
