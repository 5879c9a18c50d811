"""The metadata record of a version: what it says of the article, and which objects belong to it. Records vary."""

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from llavamed.corpus.images import RANKS
from llavamed.corpus.licences import code_of
from llavamed.corpus.pmc.store import BUCKET
from llavamed.corpus.problem import Problem, printable

MAX_NAME = 200  # bytes: file systems take 255, and a file being written has a longer name
# "J Test. 2019 Mar 4;5(1):2": the year stands behind the journal's name and before the volume.
_YEARS = [
    re.compile(pattern)
    for pattern in (
        r"(?:^|[.,]\s+)([12]\d{3})(?:[ /-][A-Z][^;:.]{1,12})?\s*[;:]",
        r"(?:^|[.;,]\s+|\()([12]\d{3})\b(?![-\d])",
    )
]
_URL = re.compile(r"s3://([^/]+)/(.+?)(?:\?md5=([0-9a-fA-F]{32}))?", re.DOTALL)


@dataclass(frozen=True)
class Object:
    """An object of a version: its key, the file name it gets, the MD5 it should have or ""."""

    key: str
    name: str
    md5: str

    @property
    def is_image(self) -> bool:
        """Whether its name is that of an image of pixels."""
        return PurePosixPath(self.name).suffix.lower() in RANKS


@dataclass(frozen=True)
class Record:
    """A metadata record. `media`: the addresses of images and supplements; None where the record does not say."""

    id: str
    pmid: str
    doi: str
    title: str
    licence: str
    year: int | None
    retracted: bool
    xml: str
    media: tuple[str, ...] | None


def parse(data: bytes, version: str) -> Record:
    """The record of `version` ("PMC1.2").

    Raises:
        Problem: bad_metadata: it is no JSON object, or that of another version.
    """
    try:
        found = json.loads(data.decode("utf-8-sig"), strict=False)
    except (ValueError, RecursionError) as error:
        raise Problem("bad_metadata", f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Problem("bad_metadata", "no JSON object")
    pmcid = _text(found, "pmcid").upper()
    if pmcid and pmcid.removeprefix("PMC").split(".")[0] != version.removeprefix("PMC").split(".")[0]:
        raise Problem("bad_metadata", f"the record is that of {pmcid}")
    code = _text(found, "license_code")
    return Record(
        id=version,
        pmid=_text(found, "pmid"),
        doi=_text(found, "doi"),
        title=_text(found, "title"),
        licence="TDM" if code.upper() == "TDM" else code_of(None, code),
        year=_year(_text(found, "year"), _text(found, "citation")),
        retracted=_text(found, "is_retracted").lower() in ("true", "1", "yes", "y", "t"),
        xml=_text(found, "xml_url") or f"s3://{BUCKET}/{version}/{version}.xml",
        media=_urls(found.get("media_urls")),
    )


def object_of(url: str, version: str) -> Object:
    """The object at an `s3://bucket/key?md5=hex` address of a record.

    Raises:
        Problem: unsafe_key: it is no such address, lies outside the version's folder, or has a name that a file
            system would take for something else.
    """
    match = _URL.fullmatch(url)
    if not match or match[1] != BUCKET or not match[2].startswith(f"{version}/"):
        raise Problem("unsafe_key", f"{url} is not in s3://{BUCKET}/{version}/")
    return Object(match[2], _safe(match[2].removeprefix(f"{version}/")), (match[3] or "").lower())


def _safe(name: str) -> str:
    odd = name[:1] in ("", ".") or name != name.strip() or re.match(r"[A-Za-z]:", name) or not name.isprintable()
    if odd or set(name) & set("/\\") or len(name.encode()) > MAX_NAME:
        raise Problem("unsafe_key", f"{name!r} is no file name")
    return name


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None or isinstance(value, dict | list):
        return ""
    text = " ".join(printable(str(value)).split())
    return "" if text.lower() in ("none", "null", "nan") else text


def _urls(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        value = [part for part in re.split(r"[\s,]+(?=s3://)", value.strip()) if part]
    if not isinstance(value, list):
        return None
    return tuple(dict.fromkeys(printable(url) for url in value if isinstance(url, str) and url))


def _year(*texts: str) -> int | None:
    for pattern in _YEARS:
        for text in texts:
            if match := pattern.search(text):
                return int(match[1])
    return None
