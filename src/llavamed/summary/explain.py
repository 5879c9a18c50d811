"""`llavamed summary explain`: how a value of a summary was made."""

from pathlib import Path
from typing import Any

from llavamed.errors import InputError
from llavamed.storage import Json
from llavamed.summary.render.json import FORMAT, read_record, record
from llavamed.summary.write import make

PAGES = (".json", ".md", ".html", ".docx")
LONGEST = 200  # characters of a value that are shown


def explain(summary: Json, number: str) -> Json:
    """The field `number` of a summary's JSON: `{number, title, basis, answer, made_from: [{fact, value, source}]}`.

    `source`: the artifact (kind, first digits of its content hash, and the whole hash where the lineage has it) and
    the query.

    Raises:
        InputError: the form has no such field; the message names those that it has.
    """
    fields = {field["number"]: field for section in summary["sections"] for field in section["fields"]}
    if number not in fields:
        raise InputError(f"the form {summary['form']} has no field {number}: name one of {', '.join(fields)}")
    field = fields[number]
    facts, whole = summary["facts"], _hashes(summary["facts"])
    made = []
    for source in field["sources"]:
        named = [name for name, fact in facts.items() if fact["source"] == source]
        artifacts = {short: hash for short, hash in whole.items() if short in source}
        for name in named or [""]:
            value = facts[name]["value"] if name else summary["version"]  # the version is counted in the profile
            made.append({"fact": name, "value": value, "source": source, "artifacts": artifacts})
    return {key: field[key] for key in ("number", "title", "basis", "answer")} | {"made_from": made}


def read(target: Path, profile: Path | None, form: str) -> Json:
    """The JSON of a summary's file; or of the summary that `write` would write of a run, a model or a data set."""
    if target.is_file() and target.suffix in PAGES and (target.suffix != ".json" or is_summary(target)):
        return read_file(target)
    return record(*make(target, profile, form))


def read_file(file: Path) -> Json:
    """A summary's JSON, or that beside its page.

    Raises:
        InputError: there is none, or it is not by the schema.
    """
    beside = file.with_suffix(".json")
    if file.suffix != ".json" and not beside.is_file():
        raise InputError(f"{file}: there is no {beside.name} beside it: name the JSON of a summary")
    return read_record(beside)


def shown(found: Json) -> str:
    """The explanation as text."""
    lines = [f"{found['number']} {found['title']} ({found['basis']})", "", found["answer"]]
    for made in found["made_from"]:
        lines += ["", f"{made['fact'] or 'version'} = {_short(made['value'])}", f"  from {made['source']}"]
        lines += [f"  {short}: content hash {hash}" for short, hash in made["artifacts"].items()]
    if not found["made_from"]:
        lines += ["", "Nothing here was computed: " + (
            "the profile says it." if "stated" in found["basis"].split(", ") else "see what to add there."
            if "not stated" in found["basis"] else "it does not apply."
        )]  # fmt: skip
    return "\n".join(lines)


def is_summary(file: Path) -> bool:
    """Whether a file of JSON begins as a summary does."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        return FORMAT in stream.read(200)


def _hashes(facts: Json) -> dict[str, str]:
    """How notes name each artifact of the lineage -> its content hash."""
    line = facts["lineage"]["value"] if "lineage" in facts else []
    return {f"{entry['kind']} {entry['hash'][:12]}": entry["hash"] for entry in line}


def _short(value: Any) -> str:
    text = f"{value:,}" if type(value) is int else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text):,} characters)"
