"""The whole path with the tiny model: it ends, it is done only once, and no kill changes a byte."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.recipe import read_recipe
from llavamed.run import run
from llavamed.verify import rehash
from small_articles import write_articles

TINY = Path(__file__).parent.parent / "recipes" / "tiny.yaml"
STEPS = ("backbone", "corpus", "alignment", "conversations", "aligned", "assistant", "scores")


@pytest.fixture(scope="module")
def articles(tmp_path_factory) -> Path:
    return write_articles(tmp_path_factory.mktemp("articles"))


@pytest.fixture(scope="module")
def finished(articles, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "tiny"
    run(read_recipe(TINY), folder, articles=[articles])
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {step: artifact.read_manifest(folder / step)["hash"] for step in STEPS}


def command(folder: Path, articles: Path) -> list[str]:
    call = "from llavamed.cli import main; main()"
    return [sys.executable, "-c", call, "run", str(TINY), "-o", str(folder), "--articles", str(articles), "--quiet"]


def test_every_step_is_there_and_sound(finished):
    for step in STEPS:
        assert rehash(finished / step) == [], step
    for name in ("summary.md", "summary.json", "report.html"):
        assert (finished / name).stat().st_size > 1000


def test_the_lineage_reaches_the_corpus(finished):
    scores = artifact.read_manifest(finished / "scores")
    found, waiting = set(), [scores]
    while waiting:
        manifest = waiting.pop()
        found.add((manifest["kind"], manifest["hash"]))
        waiting += [entry["manifest"] for entry in manifest["parents"]]
    assert {artifact.read_manifest(finished / step)["hash"] for step in STEPS} == {digest for _, digest in found}


def test_splits_do_not_share_an_article(finished):
    split = {}
    for row in storage.read_rows(finished / "corpus", columns=["pmcid", "split"]):
        assert split.setdefault(row["pmcid"], row["split"]) == row["split"]
    assert set(split.values()) == {"train", "validation", "test"}


def test_only_train_was_seen(finished):
    import pyarrow.parquet as pq

    seen = set(pq.read_table(finished / "assistant" / "seen.parquet")["id"].to_pylist())
    train = set()
    for step in ("alignment", "conversations"):
        rows = storage.read_rows(finished / step, columns=["id", "split"])
        train |= {row["id"] for row in rows if row["split"] == "train"}
    assert seen == train


def test_the_whole_run_again_changes_no_byte(finished, articles):
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in finished.rglob("*") if p.is_file()}
    subprocess.run(command(finished, articles), check=True)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in finished.rglob("*") if p.is_file()} == before


def test_another_recipe_is_refused(finished, articles, tmp_path):
    recipe = tmp_path / "other.yaml"
    recipe.write_text(TINY.read_text().replace("learning_rate: 2.0e-3", "learning_rate: 1.0e-3"))
    with pytest.raises(InputError, match=r"aligned was made otherwise \(learning_rate: 0.002 -> 0.001\)"):
        run(read_recipe(recipe), finished, articles=[articles])


def test_a_missing_source_stops_before_any_work(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        run(read_recipe(TINY), tmp_path / "run", articles=[tmp_path / "nowhere"])
    assert not (tmp_path / "run").exists()


def test_a_model_that_no_backbone_builds_is_said_before_any_work(tmp_path):
    recipe = read_recipe(TINY.with_name("llava-med-7b.yaml"))
    with pytest.raises(InputError, match=r"llava-med-7b-start does not exist: .*no backbone builds it"):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def is_at_work(folder: Path, step: str) -> bool:
    return (folder / step / ".job").exists() or (folder / step / "manifest.json").exists()


@pytest.mark.parametrize("step", ["assistant", pytest.param("all", marks=pytest.mark.slow)])
def test_killed_in_each_step_the_same_hashes(finished, articles, tmp_path, step):
    for target in STEPS if step == "all" else [step]:
        process = subprocess.Popen(command(tmp_path / "run", articles))
        until = time.monotonic() + 120
        while not is_at_work(tmp_path / "run", target) and time.monotonic() < until and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert is_at_work(tmp_path / "run", target)
    subprocess.run(command(tmp_path / "run", articles), check=True)
    assert hashes(tmp_path / "run") == hashes(finished)
    ours, theirs = ((f / "summary.json").read_text() for f in (tmp_path / "run", finished))
    assert json.loads(ours).keys() == json.loads(theirs).keys()
