"""One article out of the bucket: its newest version, the metadata record, the rules, the text, the images."""

import hashlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from llavamed.corpus import jats
from llavamed.corpus.choose import Choice
from llavamed.corpus.images import MAX_BYTES
from llavamed.corpus.pmc.http import Failed
from llavamed.corpus.pmc.ledger import Ledger
from llavamed.corpus.pmc.previous import Previous
from llavamed.corpus.pmc.record import Object, Record, object_of, parse
from llavamed.corpus.pmc.select import Wanted
from llavamed.corpus.pmc.store import BUCKET, Bucket, newest
from llavamed.corpus.problem import Problem
from llavamed.storage import PART

Json = dict[str, Any]
METADATA_BYTES = 10_000_000
# Answers that may be the endpoint's mood (a ban, a way that leads elsewhere): of an image they are told, and asked
# again by an update; of a record or a text they leave the article to the next run.
UNSETTLED = ("refused", "redirected")

_OBJECT = pa.struct(
    [*((name, pa.string()) for name in ("key", "name", "md5")), ("bytes", pa.int64()),
     *((name, pa.string()) for name in ("checked", "reason", "detail"))]
)  # fmt: skip
_ABOUT = [
    ("pmcid", pa.string()),
    ("version", pa.int32()),
    *((name, pa.string()) for name in ("pmid", "doi", "title", "licence")),
    ("year", pa.int32()),
    ("etag", pa.string()),
]
VERSIONS = pa.schema([*_ABOUT, ("collected", pa.string()), ("objects", pa.list_(_OBJECT))])
EXCLUDED_VERSIONS = pa.schema([*_ABOUT, *((name, pa.string()) for name in ("source", "reason", "detail"))])
EXCLUDED_OBJECTS = pa.schema(
    [("pmcid", pa.string()), ("version", pa.int32()),
     *((name, pa.string()) for name in ("key", "md5", "reason", "detail"))]
)  # fmt: skip


@dataclass
class Outcome:
    """What became of a wanted version: its columns of VERSIONS and `source`, why it is left out, its objects."""

    row: Json
    problem: Problem | None = None
    objects: list[Json] = field(default_factory=list)
    files: dict[str, Json] = field(default_factory=dict)  # path below the artifact -> {sha256, bytes}

    @property
    def place(self) -> tuple[int, int, str]:
        """Where it stands in a table."""
        return int(self.row["pmcid"].removeprefix("PMC")), self.row["version"] or 0, self.row["source"]

    @property
    def unsettled(self) -> bool:
        """Whether another run could see it otherwise, though nothing changed."""
        return any(entry["reason"] in UNSETTLED for entry in self.objects)


@dataclass(frozen=True)
class Fetcher:
    """Fetches articles into `out/data/`, a folder a version. What `ledger` or `previous` know is not asked again."""

    bucket: Bucket
    ledger: Ledger
    out: Path
    choice: Choice
    previous: Previous | None = None

    def article(self, wanted: list[Wanted]) -> list[Outcome] | Failed:
        """The wanted versions of one article, or why one of them could not be had this time."""
        outcomes: dict[str, Outcome] = {}
        again: list[Outcome] = []
        try:
            for row in wanted:
                outcome = self._wanted(row, outcomes)
                if outcome.problem and outcome.problem.reason == "duplicate":
                    again.append(outcome)
                else:
                    outcomes[f"{outcome.row['pmcid']}.{outcome.row['version']}"] = outcome
        except Failed as error:
            return error
        return [*outcomes.values(), *again]

    def _wanted(self, wanted: Wanted, done: dict[str, Outcome]) -> Outcome:
        about: Json = {"pmcid": f"PMC{wanted.pmcid}", "version": wanted.version or None, "source": wanted.source}
        try:
            number = wanted.version or self._newest(wanted.pmcid)
        except Problem as problem:
            return Outcome(about, problem)
        about["version"] = number
        name = f"PMC{wanted.pmcid}.{number}"
        if name in done:
            return Outcome(about, Problem("duplicate", f"the same version as {done[name].row['source']}"))
        if settled := self.ledger.get(name):
            return Outcome({**about, **settled["about"]}, Problem(settled["reason"], settled["detail"]))
        if wanted.etag and (same := self._same(about, name, wanted.etag)):
            return same
        try:
            return self._version(about, name)
        except Problem as problem:
            if problem.reason in UNSETTLED:
                raise Failed(f"{problem.reason}, {problem.detail}") from None
            known = {key: value for key, value in about.items() if key != "source"}
            self.ledger.record(name, about=known, reason=problem.reason, detail=problem.detail)
            return Outcome(about, problem)

    def _newest(self, pmcid: int) -> int:
        key = f"PMC{pmcid}."
        known = self.ledger.get(key)
        if known is None:
            try:
                known = self.ledger.record(key, version=newest(self.bucket, pmcid))
            except Problem as problem:
                if problem.reason != "not_found":
                    raise Failed(f"{problem.reason}, {problem.detail}") from None
                known = self.ledger.record(key, reason=problem.reason, detail=problem.detail)
        if "reason" in known:
            raise Problem(known["reason"], known["detail"])
        return int(known["version"])

    def _version(self, about: Json, name: str) -> Outcome:
        """Raises: Problem: why it is left out, with what is known by then in `about`."""
        data, entry = self._metadata(name)
        about["etag"] = entry["etag"]
        if same := self._same(about, name, entry["etag"]):
            return same
        record = parse(data, name)
        about |= {key: getattr(record, key) or None for key in ("pmid", "doi", "title", "licence", "year")}
        if problem := self.choice.refuses_text({**about, "retracted": record.retracted}):
            raise problem
        if "sha256" not in entry:
            entry = self._keep(name, data, entry)
        text = self._text(record)
        objects = [text, *(self._media(url, name) for url in self._addresses(record))]
        about["collected"] = text["day"]
        files = {f"{name}.json": entry} | {entry["name"]: entry for entry in objects if not entry["reason"]}
        return Outcome(about, None, objects, {f"data/{name}/{file}": _described(e) for file, e in files.items()})

    def _same(self, about: Json, name: str, etag: str) -> Outcome | None:
        """The version as the folder holds it from before, if it has not changed since."""
        if self.previous is None:
            return None
        found = self.previous.version(name, etag)
        if found is None:
            return None
        row, objects, problem = found
        if problem is None or problem.reason != "bad_metadata":  # the opt-out list may be another now
            refused = self.choice.refuses_text(
                {**row, "retracted": problem is not None and problem.reason == "retracted"}
            )
            if (refused is None) != (problem is None):
                return None
            problem = refused
        files = [f"{name}.json", *(entry["name"] for entry in objects if not entry["reason"])]
        if problem is None and not all(self.previous.link(name, file, self._folder(name)) for file in files):
            return None
        described = {} if problem else {f"data/{name}/{f}": self.previous.files[f"data/{name}/{f}"] for f in files}
        return Outcome({**row, "source": about["source"]}, problem, objects, described)

    def _metadata(self, name: str) -> tuple[bytes, Json]:
        """The metadata record, and what the ledger holds of it (with a `sha256`) or will hold."""
        key = f"metadata/{name}.json"
        path = self._folder(name) / f"{name}.json"
        if (known := self.ledger.get(key)) and path.exists():
            return path.read_bytes(), known
        try:
            body = self.bucket.get(key, METADATA_BYTES)
        except Problem as problem:
            if problem.reason == "missing":
                raise Problem("not_found", "no metadata record") from None
            if problem.reason in UNSETTLED:
                raise
            raise Problem("bad_metadata", f"{problem.reason}: {problem.detail}") from None
        return body.data, {"etag": body.etag or body.md5}

    def _keep(self, name: str, data: bytes, entry: Json) -> Json:
        path = self._folder(name) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}{PART}")
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        digest = hashlib.sha256(data).hexdigest()
        return self.ledger.record(f"metadata/{name}.json", **entry, sha256=digest, bytes=len(data))

    def _text(self, record: Record) -> Json:
        try:
            wanted = object_of(record.xml, record.id)
        except Problem as problem:
            raise Problem("no_xml", problem.detail) from None
        entry = self._object(Object(wanted.key, f"{record.id}.xml", wanted.md5), record.id, jats.MAX_BYTES)
        if entry["reason"]:
            reason = entry["reason"] if entry["reason"] in UNSETTLED else "no_xml"
            raise Problem(reason, f"{entry['key']}: {entry['reason']}, {entry['detail']}")
        return entry

    def _addresses(self, record: Record) -> list[str]:
        """The addresses of the media: of the record, or where it does not say, of a listing of the folder."""
        if record.media is not None:
            return list(record.media)
        key = f"{record.id}/"
        known = self.ledger.get(key)
        if known is None:
            own = {f"{key}{record.id}.{suffix}" for suffix in ("xml", "txt", "pdf", "json")}
            try:
                found = [f"s3://{BUCKET}/{entry.key}" for entry in self.bucket.list(key) if entry.key not in own]
            except Problem as problem:  # the bucket could be listed before
                raise Failed(f"{problem.reason}, {problem.detail}") from None
            known = self.ledger.record(key, media=found)
        return list(known["media"])

    def _media(self, url: str, name: str) -> Json:
        try:
            wanted = object_of(url, name)
        except Problem as problem:
            return _left_out(url, problem)
        if not wanted.is_image:
            return _left_out(wanted.key, Problem("not_an_image", wanted.name), wanted.md5)
        return self._object(wanted, name, MAX_BYTES)

    def _object(self, wanted: Object, name: str, limit: int) -> Json:
        """The object in its file, or why not: an entry of the ledger."""
        path = self._folder(name) / wanted.name
        known = self.ledger.get(wanted.key)
        if known and (known["reason"] or (path.exists() and path.stat().st_size == known["bytes"])):
            return known
        if self.previous and (old := self.previous.object(name, wanted.name, wanted.md5)):
            file = f"data/{name}/{wanted.name}"
            if self.previous.link(name, wanted.name, self._folder(name)):
                facts = {**old, "key": wanted.key, "day": _today(), "sha256": self.previous.files[file]["sha256"]}
                return self.ledger.record(**facts)
        try:
            body = self.bucket.save(wanted.key, path, limit, wanted.md5)
        except Problem as problem:
            entry = _left_out(wanted.key, problem, wanted.md5)
            return entry if problem.reason in UNSETTLED else self.ledger.record(**entry)
        return self.ledger.record(
            wanted.key, name=wanted.name, md5=body.md5, bytes=body.size, checked=body.checked, reason=None, detail=None,
            sha256=body.sha256, day=_today(),
        )  # fmt: skip

    def _folder(self, name: str) -> Path:
        return self.out / "data" / name


def _left_out(key: str, problem: Problem, md5: str = "") -> Json:
    return {"key": key, "name": None, "md5": md5 or None, "bytes": None, "checked": None,
            "reason": problem.reason, "detail": problem.detail}  # fmt: skip


def _described(entry: Json) -> Json:
    return {"sha256": entry["sha256"], "bytes": entry["bytes"]}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
