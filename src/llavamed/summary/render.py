"""The summary as Markdown for people and as JSON for machines."""

from typing import Any

from llavamed.summary.document import Field
from llavamed.summary.facts import Facts

INTRO = """Every field is *computed* from the model's lineage, *stated* by its developer, *not stated*, or *not
applicable*. Under each computed answer stands where it was read: the artifact (its kind and the first digits of its
content hash) and the query."""
UNKNOWN_BASE = (
    "What the base weights were trained on is not recorded in this lineage and is not counted above. "
    "The projector between the parts started from random weights."
)
RANDOM_BASE = "All weights started random: no base model was used."


def as_json(facts: Facts, fields: list[Field]) -> dict[str, Any]:
    """The summary as one object: `{form, model, fields, base_models, facts}`."""
    return {
        "form": "combined",
        "model": facts["model.hash"].value,
        "fields": [
            {"number": f.number, "title": f.title, "basis": f.basis, "answer": f.answer, "sources": list(f.sources)}
            for f in fields
        ],
        "base_models": _parts(facts),
        "facts": {name: {"value": fact.value, "source": fact.source} for name, fact in sorted(facts.items())},
    }


def as_markdown(facts: Facts, fields: list[Field]) -> str:
    """The summary as a page of Markdown."""
    blocks = ["# Training-data summary", INTRO, "## Fields (combined form)"]
    for field in fields:
        notes = "".join(f"\n  - from {_plain(source)}" for source in field.sources)
        blocks.append(f"- **{field.number} {field.title}** ({field.basis}): {_plain(field.answer)}{notes}")
    blocks += ["## Base models", *_base(facts), "## Seen in training, and merely collected", _compared(facts)]
    lineage = "\n".join(f"- {entry['kind']} `{entry['hash']}`" for entry in facts["lineage"].value)
    blocks += ["## Lineage", lineage]
    return "\n\n".join(blocks) + "\n"


def _parts(facts: Facts) -> list[dict[str, Any]]:
    bases = facts["base"].value if "base" in facts else []
    return [part for base in bases for part in base["parts"]]


def _base(facts: Facts) -> list[str]:
    if "base" not in facts:
        return ["Not stated: the lineage does not reach back to a base model."]
    parts = _parts(facts)
    if not parts:
        return [RANDOM_BASE]
    lines = ["| part | weights | licence | where from | what to know |", "| --- | --- | --- | --- | --- |"]
    for part in parts:
        origin = f"{part['source']} (SHA-256 `{part['sha256']}`)"
        cells = [part["role"], part["name"], part["licence"], origin, part["note"]]
        lines.append("| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |")
    return ["\n".join(lines), UNKNOWN_BASE]


def _compared(facts: Facts) -> str:
    lines = ["| | seen in training | collected |", "| --- | --- | --- |"]
    rows = [("figures", "seen.images", "collected.figures")]
    rows += [(key, f"seen.{key}", f"collected.{key}") for key in ("kinds", "licences", "languages", "years")]
    for title, seen, collected in rows:
        cells = " | ".join(_value(facts, key) for key in (seen, collected))
        lines.append(f"| {title} | {cells} |")
    return "\n".join(lines)


def _value(facts: Facts, key: str) -> str:
    if key not in facts:
        return "not known"
    value = facts[key].value
    if isinstance(value, dict):
        ranked = sorted(value.items(), key=lambda item: (-item[1], item[0]))
        return _plain(", ".join(f"{name} {n:,}" for name, n in ranked)).replace("|", "\\|")
    return f"{value:,}"


def _plain(text: str) -> str:
    """One line, in which nothing is taken for HTML."""
    return " ".join(text.split()).replace("<", "&lt;")
