"""The summary as JSON by the published schema, `summary.schema.json`, and back."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from llavamed.errors import InputError
from llavamed.storage import Json
from llavamed.summary.document import Chart, Document, Field, Section, Table
from llavamed.summary.facts import Facts

FORMAT = "llavamed-summary-1"
SCHEMA = Path(__file__).with_name("summary.schema.json")


def page(document: Document, facts: Facts) -> str:
    """The summary as JSON."""
    return json.dumps(record(document, facts), indent=1, ensure_ascii=False) + "\n"


def record(document: Document, facts: Facts) -> Json:
    """The summary as one object, which the schema describes."""
    return {
        "format": FORMAT,
        "form": document.form,
        "title": document.title,
        "model": document.model,
        "version": document.version,
        "updated": document.updated,
        "previous": [{"version": version, "link": link} for version, link in document.previous],
        "notes": list(document.notes),
        "sections": [
            {"number": s.number, "title": s.title, "fields": [_field(field) for field in s.fields]}
            for s in document.sections
        ],
        "charts": [{"title": c.title, "counts": c.counts, "source": c.source} for c in document.charts],
        "appendix": [_table(table) for table in document.appendix],
        "facts": {name: {"value": fact.value, "source": fact.source} for name, fact in sorted(facts.items())},
    }


def read(path: Path) -> Document:
    """The document that a summary's JSON file holds.

    Raises:
        InputError: no such file, not JSON, or not as the schema says; the message names the place in it.
    """
    found = read_record(path)
    return Document(
        form=found["form"],
        title=found["title"],
        model=found["model"],
        version=found["version"],
        updated=found["updated"],
        sections=tuple(
            Section(s["number"], s["title"], tuple(_to_field(field) for field in s["fields"]))
            for s in found["sections"]
        ),
        charts=tuple(Chart(c["title"], c["counts"], c["source"]) for c in found["charts"]),
        previous=tuple((p["version"], p["link"]) for p in found["previous"]),
        notes=tuple(found["notes"]),
        appendix=tuple(_to_table(table) for table in found["appendix"]),
    )


def read_record(path: Path) -> Json:
    """The object in a summary's JSON file, its facts included. Raises as `read`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name the JSON of a summary") from None
    except ValueError as error:  # not UTF-8, not JSON
        raise InputError(f"{path} is not JSON ({error}): name the JSON of a summary") from None
    _check(path, found)
    return dict(found)


def _check(path: Path, found: Any) -> None:
    from jsonschema.exceptions import best_match

    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{path} is no summary ({FORMAT}): name one that `llavamed summary write` wrote as JSON")
    error = best_match(_validator().iter_errors(found))
    if error is not None:
        where = error.json_path.removeprefix("$").removeprefix(".") or "the file"
        what = error.message if len(error.message) < 200 else f"not as the schema says ({error.validator})"
        raise InputError(f"{path}: {where}: {what}: write the summary anew, or mend it there")
    for number, table in enumerate(_tables(found)):
        if any(len(row) != len(table["header"]) for row in table["rows"]):
            named = table["caption"] or ", ".join(table["header"]) or number
            raise InputError(f"{path}: table {named!r}: a row is not as long as the header: write the summary anew")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _tables(found: Json) -> list[Json]:
    fields = [field for section in found["sections"] for field in section["fields"]]
    return [*(table for field in fields for table in field["tables"]), *found["appendix"]]


def _field(field: Field) -> Json:
    return {
        "number": field.number,
        "title": field.title,
        "basis": field.basis,
        "answer": field.answer,
        "tables": [_table(table) for table in field.tables],
        "sources": list(field.sources),
    }


def _table(table: Table) -> Json:
    return {"caption": table.caption, "header": list(table.header), "rows": [list(row) for row in table.rows]}


def _to_field(found: Json) -> Field:
    tables = tuple(_to_table(table) for table in found["tables"])
    return Field(found["number"], found["title"], found["basis"], found["answer"], tables, tuple(found["sources"]))


def _to_table(found: Json) -> Table:
    return Table(tuple(found["header"]), tuple(map(tuple, found["rows"])), found["caption"])
