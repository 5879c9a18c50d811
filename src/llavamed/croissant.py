"""Croissant metadata of a data set (MLCommons, version 1.0): its files with their SHA-256, columns and licences."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed.corpus.schema import IMAGE, SPLITS
from llavamed.storage import Json

NAME = "croissant.json"
KINDS = ("corpus", "conversations")
PARQUET = "application/x-parquet"
_TYPES = {
    pa.string(): "sc:Text",
    pa.bool_(): "sc:Boolean",
    pa.int32(): "cr:Int32",
    pa.int64(): "cr:Int64",
    pa.float32(): "cr:Float32",
    pa.float64(): "cr:Float64",
}
_ADDRESS = "https://creativecommons.org/"
_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}  # as the specification has it


def croissant(folder: Path, manifest: Json, card: str) -> Json:
    """The metadata of the data set in `folder`, whose `manifest` and `card` (README.md) are given.

    A record set for each split, a field for each column; each Parquet file with its SHA-256. `license`: all that the
    records state; where a set of conversations does not count them, those of the corpora that it was made from.
    """
    title, text = _read_card(card)
    tables = {name: file for name, file in manifest["files"].items() if name.startswith("data/") and _is_table(name)}
    splits = [split for split in SPLITS if any(name.startswith(f"data/{split}-") for name in tables)]
    found: Json = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title,
        "description": text,
        "datePublished": manifest["times"]["finished"][:10],
        "identifier": f"sha256:{manifest['hash']}",
        "distribution": [*map(_file, tables, tables.values()), *map(_file_set, splits)],
        "recordSet": [_record_set(split, _schema(folder, split, tables)) for split in splits],
    }
    if licences := sorted(_licences(manifest)):
        found["license"] = [_address(licence) for licence in licences]
    return found


def _read_card(card: str) -> tuple[str, str]:
    """(title, text) of a card, without its front matter."""
    body = card.split("---\n", 2)[-1]
    title, _, text = body.partition("\n")
    return title.removeprefix("# ").strip(), text.strip()


def _is_table(name: str) -> bool:
    return name.endswith(".parquet")


def _file(name: str, file: Json) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{file['bytes']} B",
        "encodingFormat": PARQUET,
        "sha256": file["sha256"],
    }


def _file_set(split: str) -> Json:
    """The files of a split. They are not `containedIn` their objects: readers would take those for archives."""
    return {
        "@type": "cr:FileSet",
        "@id": f"{split}-files",
        "name": f"{split}-files",
        "encodingFormat": PARQUET,
        "includes": f"data/{split}-*.parquet",
    }


def _schema(folder: Path, split: str, tables: Iterable[str]) -> pa.Schema:
    return pq.read_schema(folder / next(name for name in tables if name.startswith(f"data/{split}-")))


def _record_set(split: str, schema: pa.Schema) -> Json:
    fields = [_field(split, column.name, column.type, column.name, []) for column in schema]
    return {"@type": "cr:RecordSet", "@id": split, "name": split, "field": fields}


def _field(split: str, path: str, kind: pa.DataType, column: str, steps: list[str]) -> Json:
    """A column, or at `steps` within it a part of one. `path`: its name, with the names of what it is part of."""
    found: Json = {"@type": "cr:Field", "@id": f"{split}/{path}", "name": f"{split}/{path}"}
    if pa.types.is_list(kind):
        found["repeated"] = True
        kind = kind.value_type
    if kind == IMAGE:
        found |= {"dataType": "sc:ImageObject"}
        steps = [*steps, "bytes"]
    elif pa.types.is_struct(kind):
        parts = (_field(split, f"{path}/{part.name}", part.type, column, [*steps, part.name]) for part in kind)
        return found | {"subField": [*parts]}
    else:
        found["dataType"] = _TYPES.get(kind, "sc:Text")
    source: dict[str, Any] = {"fileSet": {"@id": f"{split}-files"}, "extract": {"column": column}}
    if steps:
        source["transform"] = {"jsonPath": ".".join(f"'{step}'" for step in steps)}
    return found | {"source": source}


def _licences(manifest: Json) -> set[str]:
    """The codes of the licences that a set's records state, by its histograms or by those of what it was made from."""
    stated = manifest["histograms"].get("licence")
    if stated is None:
        return {code for entry in manifest["parents"] for code in _licences(entry["manifest"])}
    return set(stated) - {"unknown", "none-stated", "other"}


def _address(code: str) -> str:
    """The address of a licence, where there is one of its code alone; else the code."""
    name, _, version = code.removeprefix("CC-").rpartition("-")
    if code.startswith("CC-BY") and version.replace(".", "").isdigit():
        return f"{_ADDRESS}licenses/{name.lower()}/{version}/"
    public = {"CC0-1.0": "zero/1.0/", "PDM-1.0": "mark/1.0/"}
    return f"{_ADDRESS}publicdomain/{public[code]}" if code in public else code
