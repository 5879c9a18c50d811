"""What a withdrawal touches is what a rebuild without the article lacks."""

import json

import pyarrow.parquet as pq
import pytest
from small_run import model, rows
from typer.testing import CliRunner

from llavamed import artifact, storage
from llavamed.cli import app
from llavamed.corpus.build import build
from llavamed.corpus.choose import article_of, read_opt_out
from llavamed.errors import InputError
from llavamed.instruct.align import align
from llavamed.instruct.template import generate_template
from llavamed.summary.impact import impact, read_dois, read_retractions
from small_articles import write_articles

SETS = ("corpus", "alignment", "conversations")


def make(articles, folder, opt_out=None):
    build([articles], folder / "corpus", opt_out=opt_out)
    align(folder / "corpus", folder / "alignment")
    generate_template(folder / "corpus", folder / "conversations")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Twelve articles with three figures each, and a model of two stages."""
    folder = tmp_path_factory.mktemp("impact")
    write_articles(folder / "sources", 12)
    run = make(folder / "sources", folder / "run")
    first = rows(run / "alignment", "align", 1)
    model(run / "backbone", [])
    model(run / "aligned", [run / "backbone", run / "alignment"], first)
    seen = first + rows(run / "conversations", "instruct", 2)
    model(run / "assistant", [run / "aligned", run / "conversations"], seen)
    return folder


def table(folder):
    return [row for path in storage.tables(folder) for row in pq.read_table(path).to_pylist()]


def ids(folder, column):
    return {row[column] for row in table(folder)}


def an_article(made):
    """One that was trained on."""
    return min(row["pmcid"] for row in table(made / "run" / "corpus") if row["split"] == "train")


@pytest.mark.parametrize("by", ["pmcid", "article"])
def test_it_names_exactly_what_a_rebuild_lacks(made, tmp_path, by):
    article = an_article(made)
    first = next(row for row in table(made / "run" / "corpus") if row["pmcid"] == article)
    entry = article if by == "pmcid" else f"article: {article_of(first)}"
    (tmp_path / "list.txt").write_text(f"{entry}  # by letter\n")
    found = impact(made / "run" / "assistant", read_opt_out(tmp_path / "list.txt"))
    again = make(made / "sources", tmp_path / "again", tmp_path / "list.txt")
    lacks = {name: ids(made / "run" / name, "pair_id" if name == "corpus" else "id") for name in SETS}
    for name in SETS:
        lacks[name] -= ids(again / name, "pair_id" if name == "corpus" else "id")
    assert {*found["figures"]} == lacks["corpus"]
    assert {*found["conversations"]} == lacks["alignment"] | lacks["conversations"]
    assert len(found["figures"]) == 3
    assert len(found["conversations"]) == 6
    kept = {row["id"]: row for row in table(made / "run" / "alignment") if row["id"] not in lacks["alignment"]}
    assert {row["id"]: row for row in table(again / "alignment")} == kept, "an article changes others' records"
    assert any("planned over each split" in note for note in found["notes"])
    assert [found["steps"][n]["touched"] for n in range(3)] == [3, 3, 3]
    assert found["articles"][0]["article"] == article


def test_checkpoints_and_how_much_of_each(made):
    article = an_article(made)
    found = impact(made / "run" / "assistant", {article.lower()})
    seen = pq.read_table(made / "run" / "assistant" / "seen.parquet").to_pylist()
    figures = {row["pair_id"] for row in table(made / "run" / "corpus") if row["pmcid"] == article}
    own = [row for row in seen if row["id"].rpartition("_")[0] in figures]
    aligned, assistant = found["checkpoints"]
    assert (aligned["stage"], assistant["stage"], aligned["touched"]) == ("align", "instruct", True)
    for checkpoint, stages in ((aligned, ("align",)), (assistant, ("align", "instruct"))):
        part, whole = ([row for row in rows_ if row["stage"] in stages] for rows_ in (own, seen))
        counts = checkpoint["counts"]
        for what, n, of in (
            ("conversations", len(part), len(whole)),
            ("images", 3, len({row["id"].rpartition("_")[0] for row in whole})),
            ("text_tokens", sum(row["text_tokens"] for row in part), sum(row["text_tokens"] for row in whole)),
            ("passes", sum(row["times_seen"] for row in part), sum(row["times_seen"] for row in whole)),
        ):
            assert counts[what] == {"touched": n, "of": of, "share": n / of}, what
    assert found["untouched"] == f"model {artifact.read_manifest(made / 'run' / 'backbone')['hash'][:12]}"


def test_nothing_is_touched_by_others(made):
    found = impact(made / "run" / "assistant", {"doi:10.1000/elsewhere", "pmc1"})
    assert found["not_found"] == ["doi:10.1000/elsewhere", "pmc1"]
    assert (found["figures"], found["conversations"], found["articles"], found["notes"]) == ([], [], [], [])
    assert not any(checkpoint["touched"] for checkpoint in found["checkpoints"])
    assert found["untouched"] == f"model {artifact.read_manifest(made / 'run' / 'assistant')['hash'][:12]}"


def test_lists_of_retractions(tmp_path):
    path = tmp_path / "retractions.csv"
    path.write_text(
        "Record ID,RetractionDOI,OriginalPaperDOI,OriginalPaperPubMedID,RetractionNature\n"
        "1,10.1000/notice,10.1000/A,123,Retraction\n2,x,10.1000/b,0,Correction\n3,x,unavailable,77,Retraction\n"
    )
    assert read_retractions(path) == {"doi:10.1000/a", "pmid:123", "pmid:77"}
    path.write_text("doi,reason\nhttps://doi.org/10.1000/c,fraud\n")
    assert read_retractions(path) == {"doi:10.1000/c"}
    path.write_text("10.1000/d\nPMC5\n")
    assert read_retractions(path) == {"doi:10.1000/d", "pmc5"}
    path.write_text("doi,reason\n,none\n")
    with pytest.raises(InputError, match="no row names an article"):
        read_retractions(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_retractions(tmp_path / "none.csv")


def test_lists_of_dois(tmp_path):
    path = tmp_path / "dois.txt"
    path.write_text("doi:10.1000/A\nhttps://doi.org/10.1000/b # comment\n")
    assert read_dois(path) == {"doi:10.1000/a", "doi:10.1000/b"}
    path.write_text("PMC5\n")
    with pytest.raises(InputError, match="pmc5 is no DOI"):
        read_dois(path)
    path.write_text("10.1000/\n")
    with pytest.raises(InputError, match="is no DOI"):
        read_dois(path)


def test_the_command(made, tmp_path):
    (tmp_path / "list.txt").write_text(f"{an_article(made)}\n")
    call = ["impact", str(made / "run"), "--opt-out", str(tmp_path / "list.txt")]
    said = CliRunner().invoke(app, [*call, "--json"])
    assert len(json.loads(said.stdout)["figures"]) == 3
    said = CliRunner().invoke(app, call)
    assert said.exit_code == 0
    assert an_article(made) in said.stdout
    said = CliRunner().invoke(app, ["impact", str(made / "run")])
    assert isinstance(said.exception, InputError)
