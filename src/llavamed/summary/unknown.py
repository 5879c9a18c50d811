"""What a partial lineage cannot tell, and why."""

from collections.abc import Iterator

import numpy as np

from llavamed.lineage import SEEN, name
from llavamed.storage import Json
from llavamed.summary.collected import collected
from llavamed.summary.fact import Fact, Facts, names
from llavamed.summary.register import NOT_KNOWN, Register, corpora_of

_OF_FIGURES = ("kinds", "clinical_photos", "licences", "years", "languages", "journals", "publishers", "article_types",
               "versions", "domains", "articles")  # fmt: skip
_HISTOGRAMS = ("licence", "year", "language", "journal", "modality")


def facts(found: Register, known: Facts) -> Facts:
    """The fact `unknown`: `[{fact, why}]`; empty for a lineage that tells everything."""
    told = [*_unknown(found, known)]
    return {"unknown": Fact(told, f"{name(found.model)}: what its lineage and the tables at hand do not tell")}


def _unknown(found: Register, known: Facts) -> Iterator[Json]:
    lost = [fact for fact in _OF_FIGURES if f"seen.{fact}" not in known]
    if lost:
        yield _about(", ".join(f"seen.{fact}" for fact in lost), _why_no_figures(found))
    elif (missing := len(found.seen.pairs) - len(found.figures.table)) > 0:
        yield _about("seen.kinds, seen.licences and the like",
                     f"{missing:,} of {len(found.seen.pairs):,} figures seen are in no corpus at hand")  # fmt: skip
    if "seen.sources" not in known:
        yield _about("seen.sources", _why_no_source(found))
    if "seen.synthetic" not in known:
        sets = [m for m in found.absent if m["kind"] == "conversations"]
        yield _about("seen.synthetic", f"{names(sets)} not at hand, and several models wrote it" if sets else
                     _no_training(found))  # fmt: skip
    if nobody := sorted({step.data["hash"] for step in found.steps if _nobody(found, step.data["hash"])}):
        yield _about("seen.synthetic", f"conversations {', '.join(h[:12] for h in nobody)}: who wrote the answers is "
                     "not stated, and is taken for no model")  # fmt: skip
    if not any(collected(m) for m in found.line):
        yield _about("collected.latest", "no artifact of the lineage has a date of collection")
    if "collected.ongoing" not in known:
        yield _about("collected.ongoing", "no artifact of the lineage was updated since it was collected")
    for m in found.line:
        gone = [key for key in _HISTOGRAMS if m["kind"] == "corpus" and key not in m["histograms"]]
        if gone:
            yield _about("collected", f"{name(m)}: its manifest has no histogram of {', '.join(gone)}")
    if "base" not in known:
        yield _about(
            "base", f"no model of the lineage says what it was built from ({name(found.line[-1])} is its root)"
        )
    elif any(base.get("parts") for base in known["base"].value):
        yield _about("base", "what the base weights were trained on is not recorded")
    for m in found.line:
        if m["kind"] == "model" and m["settings"].get("method") == "additive":
            yield _about("delta.base", f"{name(m)} was made with an additive delta, which does not name its base")
    if not any(file.startswith("tokenizer") for file in found.model["files"]):
        yield _about("seen.text_tokens", f"{name(found.model)} has no tokenizer: by which its tokens were counted is "
                     "not recorded")  # fmt: skip


def _about(fact: str, why: str) -> Json:
    return {"fact": fact, "why": why}


def _why_no_figures(found: Register) -> str:
    corpora = [m for m in found.absent if m["kind"] == "corpus"]
    if corpora:
        return f"the tables of {names(corpora)} are not at hand, and the manifests count more figures than were seen"
    if not any(corpora_of(step.data) for step in found.steps):
        return _no_training(found) if not found.steps else "the conversations were not made from a corpus"
    return "the tables hold none of it"


def _why_no_source(found: Register) -> str:
    corpora = [m for m in found.absent if m["kind"] == "corpus"]
    if corpora:
        return f"{names(corpora)} has several sources, and its tables are not at hand"
    if (found.seen.step == NOT_KNOWN).any():
        return _no_training(found)
    return "figures were read from files that several sources may hold"


def _no_training(found: Register) -> str:
    """Of which stages the set is not known."""
    stages = sorted({found.seen.stages[n] for n in np.unique(found.seen.stage[found.seen.step == NOT_KNOWN]).tolist()})
    return f"{SEEN} names records of the stage {', '.join(stages)} that no set of the lineage is known to hold"


def _nobody(found: Register, hash_: str) -> bool:
    """Whether a set was imported and some of its records name no teacher."""
    seen = found.seen
    steps = [n for n, step in enumerate(found.steps) if step.data["hash"] == hash_ and "layout" in step.data]
    makers = np.unique(seen.made[np.isin(seen.step, steps)]).tolist() if steps else []
    return any(maker == NOT_KNOWN or not seen.makers[maker][0] for maker in makers)
