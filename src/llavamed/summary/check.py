"""`llavamed summary check`: what a regulator or a reader would mark down in a summary."""

import re
from collections.abc import Iterator
from datetime import date

from llavamed.storage import Json
from llavamed.summary.document import NOT_STATED
from llavamed.summary.forms import FORMS
from llavamed.summary.forms.bands import BANDS, band
from llavamed.summary.profile import Profile

MONTHS = 6  # a summary is brought up to date at least so often
WORDS = 12  # a stated answer of more words than this holds a figure, a name or a date
# words that stand in for a count or a list
VAGUE = ("a variety of", "various", "a wide range", "a number of", "several", "numerous", "many", "diverse",
         "large amounts", "including but not limited to", "and so on", "etc.", "among others")  # fmt: skip
_UNSAID = re.compile(r"(version )?not stated\b", re.IGNORECASE)
_LINK = re.compile(r"https?://\S+")
_COUNT = re.compile(
    r"(\d[\d,]*(?:\.\d+)?)(?: (thousand|million|billion|trillion))? (?:text )?"
    r"(tokens|images|figures|distinct pictures|hours)\b"
)
_SCALE = {"": 1, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_UNITS = {"figures": "images", "distinct pictures": "images"}
_LINKS = ("0.a", "1.0.1", "1.2.a", "1.2.1", "1.2.b", "3.1.c")  # fields that a link answers


def check(record: Json, today: date) -> list[Json]:
    """What is wrong with a summary's JSON: `[{number, what, remedy}]`, in the order of the form."""
    fields = {field["number"]: field for section in record["sections"] for field in section["fields"]}
    problems = [*_head(record, today)]
    for number, title in _expected(record["form"]).items():
        if number not in fields:
            problems.append(_problem(number, f"the field “{title}” is missing", "write the summary anew"))
    for field in fields.values():
        problems += _field(field)
    return problems


def _expected(form: str) -> dict[str, str]:
    empty = FORMS[form]({}, Profile())
    return {field.number: field.title for section in empty.sections for field in section.fields}


def _problem(number: str, what: str, remedy: str) -> Json:
    return {"number": number, "what": what, "remedy": remedy}


def _head(record: Json, today: date) -> Iterator[Json]:
    head = "head"
    try:
        updated = date.fromisoformat(record["updated"])
    except ValueError:
        yield _problem(head, f"the last update is no date: {record['updated']}", "state `updated` in the profile")
    else:
        if updated > today:
            yield _problem(head, f"the last update, {updated}, lies in the future", "mend `updated` in the profile")
        elif _months(updated, today) >= MONTHS:
            yield _problem(head, f"last updated {updated}: {MONTHS} months ago or more",
                           "bring it up to date, with a new version and `updated`")  # fmt: skip
    versions = [*(earlier["version"] for earlier in record["previous"]), record["version"]]
    if len(set(versions)) < len(versions):
        yield _problem(head, f"a version is there twice: {', '.join(versions)}", "number each version once")
    for earlier in record["previous"]:
        if not _LINK.fullmatch(earlier["link"]):
            yield _problem(head, f"version {earlier['version']} has no link", "link it under `previous` in the profile")


def _months(first: date, last: date) -> int:
    return (last.year - first.year) * 12 + last.month - first.month - (last.day < first.day)


def _field(field: Json) -> Iterator[Json]:
    number, answer = field["number"], field["answer"].strip()
    if not answer:
        yield _problem(number, "blank", "answer it, or write `not applicable: ` and why")
        return
    cells = [cell for table in field["tables"] for row in table["rows"] for cell in row]
    if NOT_STATED in field["basis"] or any(_UNSAID.match(cell) for cell in cells):
        told = re.findall(r"Not stated: (.+?\.)(?=\s|$)", answer)
        yield _problem(number, "not stated", " ".join(told) or "state it in the profile")
    if "not applicable" in field["basis"] and not re.search(r"not applicable: \S", answer, re.IGNORECASE):
        yield _problem(number, "not applicable without a reason", "say why")
    if _LINK.fullmatch(answer.rstrip(".")) and number not in _LINKS:
        yield _problem(number, "a link in place of an answer", "say what stands there")
    beside = re.search(r"Stated by the provider: (Yes|No)\.", answer)
    first = re.match(r"(Yes|No)\b", answer)
    if beside and first and beside[1] != first[1]:
        yield _problem(number, f"the lineage says {first[1]}, the provider {beside[1]}", "mend the profile, or say why")
    yield from _bands(number, answer)
    if "stated" in field["basis"].split(", "):
        yield from _vague(number, _stated(field))


def _stated(field: Json) -> str:
    """What the provider says, without what is computed beside it."""
    mark = "Stated by the provider: "
    parts = field["answer"].split("\n\n")
    return " ".join(parts if "computed" not in field["basis"] else [part for part in parts if part.startswith(mark)])


def _bands(number: str, answer: str) -> Iterator[Json]:
    """Of each paragraph: is the count that it names in the band that it names?"""
    for paragraph in answer.lower().split("\n\n"):
        named = {words.lower(): unit for unit, bands in BANDS.items() for _, words in bands}
        plain = paragraph
        for words in named:
            plain = plain.replace(words, "")
        count = _COUNT.search(plain)
        if not count:
            continue
        unit = _UNITS.get(count[3], count[3])
        size = round(float(count[1].replace(",", "")) * _SCALE[count[2] or ""])
        here = [words.lower() for _, words in BANDS[unit] if words.lower() in paragraph]
        ticked = [words for words in here if f"☒ {words}" in paragraph] if "☒" in paragraph else here
        right = band(size, unit)
        if ticked and ticked != [right.lower()]:
            yield _problem(number, f"{size:,} {unit} are not in the band “{'; '.join(ticked)}”", f"it is “{right}”")


def _vague(number: str, answer: str) -> Iterator[Json]:
    words = [word for word in VAGUE if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE)]
    if words:
        yield _problem(number, f"vague: “{'”, “'.join(words)}”", "give the number, or the list")
    elif len(answer.split()) > WORDS and not re.search(r"\d", answer):
        yield _problem(number, "a narrative without a figure or a date", "add counts, versions or dates")
