"""What a model's card says of the data it saw: statements of the summary's forms, from the same facts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from llavamed.errors import InputError
from llavamed.lineage import SEEN
from llavamed.storage import Json
from llavamed.summary.facts import Facts, gather
from llavamed.summary.forms import content, origins
from llavamed.summary.forms.parts import Part, named
from llavamed.summary.render.markdown import grid, plain


def training_data(model: Path, manifest: Json, data: Sequence[Path] = ()) -> str:
    """The section as Markdown. What the lineage cannot tell is named in it, and raises nothing.

    `manifest`: that of the model, which may not be published yet. `data`: where its data sets lie, besides beside it.
    """
    return "\n\n".join(["## Training data", *_said(model, manifest, data)])


def _said(model: Path, manifest: Json, data: Sequence[Path]) -> list[str]:
    if SEEN not in manifest["files"]:
        return ["Not known: the model has no list of what it saw."]
    try:
        facts = gather(model, data, manifest)
    except InputError:
        return ["Not known: its lineage cannot be read, and `llavamed verify` says why."]
    parts = [part for part in _statements(facts) if part]
    lost = [f"{entry['fact']}: {entry['why']}" for entry in facts["unknown"].value if entry["fact"].startswith("seen.")]
    items = [*(part.text for part in parts), *(f"Not known: {what}." for what in lost)]
    return [
        "\n".join(f"- {plain(item)}" for item in items),
        *(block for part in parts for table in part.tables for block in grid(table)),
        f"`{SEEN}` lists every record it saw, `manifest.json` where each came from. On this folder, `llavamed summary "
        "write` writes the whole summary, `llavamed trace` every article.",
    ]


def _statements(facts: Facts) -> Iterator[Part | None]:
    yield from (content.image_size(facts), content.text_size(facts), content.text_content(facts), content.kinds(facts))
    yield named("Copyright", part) if (part := origins.copyrighted(facts)) else None
    yield from origins.sources(facts)
    yield named("Written by AI", part) if (part := origins.synthetic(facts)) else None
    yield origins.removed(facts, *origins.REMOVED)
