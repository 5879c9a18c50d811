"""`llavamed summary diff`: two summaries, field by field."""

from llavamed.errors import InputError
from llavamed.storage import Json


def diff(old: Json, new: Json) -> list[Json]:
    """What is different: `[{number, title, was, now}]`, in the order of the form; `None` where a field is not there.

    The head (model, version, last update) comes first. `was` and `now` hold the basis, the answer and the tables.

    Raises:
        InputError: they are of two forms.
    """
    if old["form"] != new["form"]:
        raise InputError(
            f"one summary is of the form {old['form']}, the other of {new['form']}: compare two of one form"
        )
    found = [
        {"number": key, "title": f"the summary's {key}", "was": old[key], "now": new[key]}
        for key in ("model", "version", "updated") if old[key] != new[key]
    ]  # fmt: skip
    before, after = _fields(old), _fields(new)
    for number in dict.fromkeys((*after, *before)):
        was, now = (_said(fields.get(number)) for fields in (before, after))
        if was != now:
            title = (after.get(number) or before[number])["title"]
            found.append({"number": number, "title": title, "was": was, "now": now})
    return found


def shown(found: list[Json]) -> str:
    """The differences as text."""
    if not found:
        return "no difference"
    blocks = []
    for entry in found:
        lines = [f"{entry['number']} {entry['title']}"]
        for mark, said in (("-", entry["was"]), ("+", entry["now"])):
            lines += [f"{mark} {line}" for line in (said or "").splitlines() if line.strip()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _fields(record: Json) -> dict[str, Json]:
    return {field["number"]: field for section in record["sections"] for field in section["fields"]}


def _said(field: Json | None) -> str | None:
    if field is None:
        return None
    rows = [" | ".join(row) for table in field["tables"] for row in table["rows"]]
    return "\n".join([f"({field['basis']}) {field['answer']}", *rows])
