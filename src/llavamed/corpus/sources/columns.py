"""One record of a published set -> our text columns. The names that such sets use stand here, and nowhere else.

Checked against: the cards of axiong/pmc_oa (JSON lines `image`, `caption`, once also `pmcid`, `url_name`),
vector-institute/open-pmc and rows of its viewer (WebDataset: jpg, jsonl with PMC_ID, sub_caption, full_caption,
intext_refs, intext_refs_summary, modality), eltorio/ROCOv2-radiology (Parquet: image, image_id, caption, cui), the
features of TomTBT/pmc_open_access_figure (accession_id, pmid, figure, caption, license, retracted ...), and BIOMEDICA's
public serializer (WebDataset: jpg, txt, json with article_accession_id, article_license, article_date, image_context
...). BIOMEDICA's files are gated: its Parquet edition could not be seen, and is read if its columns have these names.
"""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from llavamed.corpus.entry import Json
from llavamed.corpus.jats import file_name
from llavamed.corpus.licences import code_of
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.schema import DOMAINS, KINDS

MAX_TEXT = 50_000  # characters of a caption, or of all mentions
# Our column -> the names understood, whatever their case; the first that holds something is taken.
NAMES = {
    "image": ("image", "jpg", "jpeg", "png", "webp", "figure", "picture", "img", "tif", "tiff", "gif", "bmp", "file",
              "path", "filename", "file_name", "image_path", "image_file_name", "image_url"),
    "fig_caption": ("fig_caption", "sub_caption", "caption", "txt", "full_caption", "image_caption", "text", "report",
                    "description", "findings"),
    "pair_id": ("pair_id", "image_id", "__key__", "id"),
    "pmcid": ("pmcid", "pmc_id", "article_accession_id", "accession_id"),
    "pmid": ("pmid", "article_pmid"),
    "doi": ("doi", "article_doi"),
    "title": ("title", "article_title"),
    "journal": ("journal", "article_journal"),
    "publisher": ("publisher",),
    "published": ("published", "article_date", "date", "year"),
    "language": ("language", "lang"),
    "article_type": ("article_type",),
    "subjects": ("subjects", "article_subject", "article_categories"),
    "licence": ("licence", "license", "article_license"),
    "licence_url": ("licence_url", "license_url"),
    "retracted": ("retracted",),
    "fig_id": ("fig_id", "image_cluster_id"),
    "fig_label": ("fig_label",),
    "in_text_mention": ("in_text_mention", "intext_refs", "image_context", "intext_refs_summary"),
    "patient": ("patient", "patient_id", "subject", "subject_id", "group"),
    "kind": ("domain", "modality", "kind"),
}  # fmt: skip
_NESTED = ("json", "jsonl")  # members or columns that hold a record of their own
KNOWN = {name for names in NAMES.values() for name in names} | {*_NESTED, "graphic_ref"}  # those that are looked at
_CODES = ("MIT", "BSD-2-Clause", "BSD-3-Clause", "PDM-1.0", "TDM", "other", "none-stated")
_PMC = re.compile(r"(?<![A-Za-z])PMC(\d{1,9})(?!\d)")
_MARKUP = re.compile(r"<[^<>]{1,300}>")


def find(columns: Iterable[str], what: str) -> str | None:
    """The first of `columns` that is understood as our column `what`."""
    found = {column.lower().strip(): column for column in columns}
    return next((found[name] for name in NAMES[what] if name in found), None)


def understood(*what: str) -> str:
    """The names understood for some of our columns, for a message."""
    return "; ".join(f"{key}: {', '.join(NAMES[key])}" for key in what)


def unnest(record: Json) -> Json:
    """A record in which a member such as `json` is replaced by what it holds.

    Raises:
        Problem: record_broken.
    """
    found = {key: value for key, value in record.items() if key not in _NESTED}
    for key in _NESTED:
        if record.get(key):
            value = parse(record[key]) if isinstance(record[key], bytes | str) else record[key]
            found = (value if isinstance(value, dict) else {}) | found
    return found


def parse(text: bytes | str) -> object:
    """The first JSON value of a text.

    Raises:
        Problem: record_broken.
    """
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return json.JSONDecoder().raw_decode(plain.strip())[0]
    except (ValueError, RecursionError) as error:
        raise Problem("record_broken", f"no JSON in UTF-8: {error}") from None


def read(record: Json, name: str) -> tuple[Json, str, list[Json]]:
    """(our text columns; what the split is hashed from: article or patient, empty if unknown; kinds of image stated).

    `name`: of the record, for its id where it states none, and for the PMCID in it.

    Raises:
        Problem: text_too_long.
    """
    fields = {key.lower().strip(): value for key, value in record.items()}
    plain = {key: _first(fields, key) for key in NAMES if key not in ("image", "in_text_mention", "kind")}
    own = (file_name(plain["pair_id"]) or file_name(name) or "unnamed")[:200]
    text: Json = {key: value for key, value in plain.items() if value and key not in ("patient", "published")}
    match = _PMC.search(plain["pmcid"]) or _PMC.search(f"{own} {fields.get('graphic_ref')}")
    pmcid = match[1] if match else plain["pmcid"] if plain["pmcid"].isdigit() else ""
    before, _, after = own.partition("_")
    pmid = plain["pmid"] or (before if after and before.isdigit() and len(before) > 4 else "")
    year, published = _date(plain["published"])
    licence = plain["licence"]
    statement = licence if licence in _CODES else code_of(plain["licence_url"] or _address(licence), licence)
    mentions = _mentions(_value(fields, "in_text_mention"), plain["fig_id"])
    caption = plain["fig_caption"]
    if len(caption) > MAX_TEXT or sum(map(len, mentions)) > MAX_TEXT:
        raise Problem("text_too_long", f"over {MAX_TEXT:,} characters")
    text |= {
        "pair_id": own,
        "pmcid": f"PMC{pmcid}" if pmcid else None,
        "pmid": pmid or None,
        "year": year,
        "published": published,
        "licence": statement,
        "fig_caption": caption,
        "subjects": _list(_value(fields, "subjects")) or None,
        "retracted": plain["retracted"].lower() in ("yes", "true", "1"),
        "in_text_mention": mentions,
        "mention_source": ["given"] * len(mentions),
    }
    patient = f"patient {plain['patient']}" if plain["patient"] else ""
    return text, text["pmcid"] or pmid or plain["doi"] or patient, kinds(_value(fields, "kind"))


def kinds(value: object) -> list[Json]:
    """Kinds of image as a source states them, `{"mri": true}`, "MRI" or several: `[{name, confidence, source}]`."""
    names = [key for key, on in value.items() if on is True] if isinstance(value, dict) else _list(value)
    found = {}
    for name in names:
        kind = _KINDS.get(" ".join(re.split(r"[\W_]+", str(name).lower())).strip())
        if kind:
            found[kind] = {"name": kind, "confidence": 1.0, "source": f"label: {name}"}
    return list(found.values())


_KINDS = {
    **{key.replace("_", " "): key for key in KINDS},
    **{re.sub(r"\W+", " ", words.lower()): key for key, words in KINDS.items()},
    **{domain.replace("_", " "): key for domain, key in DOMAINS.items()},
    **{"mr": "mri", "us": "ultrasound", "x ray": "radiograph", "xr": "radiograph"},
}


def _value(fields: Json, what: str) -> object:
    return next((fields[name] for name in NAMES[what] if _holds(fields.get(name))), None)


def _holds(value: object) -> bool:
    return value is not None and value == value and value not in ("", [], {})  # NaN is not itself


def _first(fields: Json, what: str) -> str:
    return clean(_value(fields, what))


def clean(value: object) -> str:
    """A text or a number as text with normal white space that UTF-8 can hold; empty for anything else."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "true" if value is True else ""
    if isinstance(value, float) and value.is_integer():  # an id in a column with gaps
        value = int(value)
    return printable(" ".join(str(value).split()))


def _list(value: object) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [text for text in map(clean, values) if text]


def _mentions(value: object, fig_id: str) -> list[str]:
    """Sentences or paragraphs: texts, `{tokens: text}`, or of all an article's figures `{fig_id: texts}`."""
    if isinstance(value, dict):
        value = value.get(fig_id)
    values = value if isinstance(value, list) else [value]
    texts = [item.get("tokens") if isinstance(item, dict) else item for item in values]
    plain = [_MARKUP.sub(" ", text) if isinstance(text, str) and text.startswith("<p>") else text for text in texts]
    return _list(plain)


def _date(text: str) -> tuple[int | None, str | None]:
    """(year, ISO date) of a date, or of seconds since 1970."""
    try:
        if re.fullmatch(r"-?\d{6,11}(\.\d+)?", text):
            moment = datetime.fromtimestamp(float(text), UTC).date()
            return moment.year, moment.isoformat()
    except (ValueError, OverflowError, OSError):
        return None, None
    match = re.search(r"(?<!\d)((?:18|19|20)\d\d)(?!\d)", text)
    iso = re.match(r"\d{4}(-\d\d){0,2}(?!\d)", text)
    return (int(match[1]) if match else None), (iso[0] if match and iso else None)


def _address(text: str) -> str | None:
    return text if "://" in text else None
