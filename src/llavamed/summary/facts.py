"""What a model's lineage says about its training data: every figure counted, with the note where it was read.

The notes name the artifact (kind and the first digits of its content hash) and the query. What the model saw comes
from its `seen.parquet`; kinds, licences and years of it from the corpus tables where these are at hand, else from the
manifests where those suffice. What was merely collected is kept apart under `collected.`. Counted after
pre-processing and before training, each record once.
"""

from collections.abc import Sequence
from pathlib import Path

from llavamed.lineage import SEEN, name
from llavamed.storage import Json
from llavamed.summary import collected, seen, sources, unknown
from llavamed.summary.fact import Fact as Fact
from llavamed.summary.fact import Facts as Facts
from llavamed.summary.fact import day
from llavamed.summary.register import register


def gather(model: Path, data: Sequence[Path] = (), manifest: Json | None = None) -> Facts:
    """All that is known of the data that `model` (the folder of a trained model) saw: name -> fact. A name that is
    missing is not known; `unknown` says why. `data`: where its data sets lie, besides beside it. `manifest`: that of a
    model which is not published yet.

    Raises:
        InputError: the folder holds no trained model; its `seen.parquet` or a manifest was changed; the lineage holds
            two versions of one artifact; one of `data` holds none of the lineage.
    """
    found = register(model, data, manifest=manifest)
    facts = {
        **_of_model(found.line),
        **seen.facts(found),
        **sources.facts(found),
        **collected.facts(found.line),
    }
    return facts | unknown.facts(found, facts)


def _of_model(line: list[Json]) -> Facts:
    model = line[0]
    # A copy of a model, exported or made of a delta, has the table of the training it comes from.
    trained = {m["files"][SEEN]["sha256"]: m for m in line if m["kind"] == "model" and SEEN in m["files"]}
    first = min(reversed(trained.values()), key=lambda m: m["times"]["started"])
    facts = {
        "model.hash": Fact(model["hash"], f"{name(model)}: content hash"),
        "model.finished": Fact(day(model["times"]["finished"]), f"{name(model)}: times.finished"),
        "training.first": Fact(
            day(first["times"]["started"]), f"{name(first)}: times.started, the earliest of {len(trained)} trainings"
        ),
        "lineage": Fact([{"kind": m["kind"], "hash": m["hash"]} for m in line], f"{name(model)}: parents, to the root"),
    }
    bases = [m for m in line if m.get("backbone") and not m["parents"]]  # training passes the note on
    if bases:
        facts["base"] = Fact([m["backbone"] for m in bases], "; ".join(f"{name(m)}: backbone" for m in bases))
    applied = [entry["manifest"] for m in line if m["kind"] == "model" for entry in m["parents"]]
    deltas = [m for m in applied if m["kind"] == "delta" and m.get("base")]
    if deltas:
        facts["delta.base"] = Fact(deltas[0]["base"], f"{name(deltas[0])}: base")
    return facts
