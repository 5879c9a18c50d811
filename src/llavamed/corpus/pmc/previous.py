"""What a folder holds from an earlier fetch, so that an update takes over what has not changed."""

import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.corpus.problem import Problem

Json = dict[str, Any]
# Why a version may be left out for good, as long as its metadata record is the same.
_BY_METADATA = ("opt_out", "licence", "retracted", "year", "bad_metadata")
# Why an object may be: nothing else in the bucket could make it otherwise.
_BY_NAME = ("not_an_image", "unsafe_key", "too_large")

REMOVED = pa.schema(
    [("pmcid", pa.string()), ("version", pa.int32()), *((name, pa.string()) for name in ("etag", "day", "reason"))]
)


class Previous:
    """The finished artifact in `folder`. `kept`, `excluded`: rows by version ("PMC1.2"); `files`: as its manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = artifact.read_manifest(folder)
        self.files: Json = self.manifest["files"]
        self.kept = {_name(row): row for row in _rows(folder / "versions.parquet")}
        self.excluded = {_name(row): row for row in _rows(folder / "excluded" / "versions.parquet")}

    def version(self, name: str, etag: str) -> tuple[Json, list[Json], Problem | None] | None:
        """(row, objects, why it is left out) of a version whose metadata record is still `etag`; None: ask again."""
        row = self.kept.get(name)
        if row and row["etag"] == etag:
            if any(entry["reason"] and entry["reason"] not in _BY_NAME for entry in row["objects"]):
                return None
            about = {key: value for key, value in row.items() if key != "objects"}
            return about, row["objects"], None
        row = self.excluded.get(name)
        if row and row["etag"] == etag and row["reason"] in _BY_METADATA:
            about = {key: value for key, value in row.items() if key not in ("source", "reason", "detail")}
            return about, [], Problem(row["reason"], row["detail"])
        return None

    def object(self, name: str, file: str, md5: str) -> Json | None:
        """What is known of the file of a version, if it is the object with that MD5."""
        objects = self.kept[name]["objects"] if md5 and name in self.kept else ()
        return next((entry for entry in objects if entry["name"] == file and entry["md5"] == md5), None)

    def link(self, name: str, file: str, folder: Path) -> bool:
        """Put the file of a version into `folder` too; False if it is not there as published."""
        source, target = self.folder / "data" / name / file, folder / file
        described = self.files.get(f"data/{name}/{file}")
        if described is None or not source.is_file() or source.stat().st_size != described["bytes"]:
            return False
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:  # a file system without hard links
                part = target.with_name(f".{target.name}{storage.PART}")
                shutil.copy2(source, part)
                part.replace(target)
        return True

    def compare(self, out: Path, source: Json, kept: list[Json], excluded: list[Json]) -> Json:
        """What an update to these rows did, in numbers; `out/removed.parquet` lists what it dropped.

        A version is withdrawn if the bucket has it no more, superseded if a newer one took its place.
        """
        now = {_name(row): row for row in kept}
        reasons = {_name(row): row["reason"] for row in excluded if row["reason"] != "not_found"}
        articles = {row["pmcid"] for row in kept}
        today = datetime.now(UTC).date().isoformat()
        removed = [
            {**row, "day": today, "reason": reasons.get(name) or _gone(row, articles)}
            for name, row in self.kept.items()
            if name not in now
        ]
        earlier = _rows(self.folder / "removed.parquet")
        if removed or earlier:
            storage.write_table(out / "removed.parquet", earlier + removed, REMOVED)
        old = {name: row["etag"] for name, row in self.kept.items()}
        return {
            "source": source,
            "new": len(now.keys() - old.keys()),
            "changed": sum(name in old and old[name] != row["etag"] for name, row in now.items()),
            "unchanged": sum(old.get(name) == row["etag"] for name, row in now.items()),
            "removed": dict(sorted(Counter(row["reason"] for row in removed).items())),
        }


def _gone(row: Json, articles: set[str]) -> str:
    return "superseded" if row["pmcid"] in articles else "withdrawn"


def _rows(path: Path) -> list[Json]:
    rows: list[Json] = pq.read_table(path).to_pylist() if path.exists() else []
    return rows


def _name(row: Json) -> str:
    return f"{row['pmcid']}.{row['version']}"
