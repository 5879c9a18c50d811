"""A benchmark as an artifact: to be evaluated on, and, as conversations of one question each, to fine-tune on."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from llavamed import artifact, storage
from llavamed.cards import dataset_card
from llavamed.corpus.jats import file_name
from llavamed.corpus.problem import Problem
from llavamed.corpus.schema import with_features
from llavamed.errors import InputError
from llavamed.evaluate.benchmarks.check import Part, judge, layout, read
from llavamed.evaluate.benchmarks.known import BENCHMARKS
from llavamed.evaluate.benchmarks.read import Record, files, records, require_answers
from llavamed.evaluate.questions import of_record
from llavamed.instruct.schema import CONVERSATIONS
from llavamed.storage import Json

_NAMES = ("answer_type", "question_type", "organ", "modality", "language")
SCHEMA = with_features(
    pa.schema([("question_id", pa.string()), *CONVERSATIONS, *((name, pa.string()) for name in _NAMES)])
)
EXCLUDED = pa.schema(
    [(name, pa.string()) for name in ("id", "pair_id", "question", "answer", "split", "source", "reason", "detail")]
)
_ROWS = 4096  # in a file
_SHOWN = 5


def convert(
    source: Path,
    folder: Path,
    *,
    language: str = "en",
    images: Path | None = None,
    allow_missing: bool = False,
    force: bool = False,
) -> Json:
    """Write every split of a benchmark to `folder`, pictures as they are, and return `{benchmark, version, questions:
    {in, kept, excluded}, splits: {name: n}, problems, artifact, hash}`.

    The artifact is of kind conversations; `question_id` is the benchmark's own. `problems`: see `check.judge`.

    Raises:
        InputError: `source` holds no questions or has no column of answers; pictures are missing or broken and not
            `allow_missing`; or what `artifact.start` refuses.
    """
    key = layout(source)
    require_answers(source)
    name = key or file_name(source.stem)
    inputs = _fingerprints(source, language, images)
    job = artifact.start(folder, "conversations", {"set": name, "language": language}, inputs=inputs, force=force)
    if job.manifest is None:
        try:
            parts = read(partial(records, source, language=language, images=images))
            _refuse_lost(source, parts, allow_missing)
        except InputError:
            artifact.abandon(job)
            raise
        found = judge(parts, key, language, {"missing"} if allow_missing else set())
        job.manifest = _write(job, records(source, language=language, images=images), parts, found, name)
    manifest = job.manifest
    found = manifest["benchmark"]
    return {
        "benchmark": found["benchmark"],
        "version": found["version"],
        "questions": manifest["counts"]["conversations"],
        "splits": {split: part["conversations"] for split, part in manifest["splits"].items()},
        "problems": [entry["what"] for entry in found["problems"]],
        "artifact": str(folder),
        "hash": manifest["hash"],
    }


def _fingerprints(source: Path, language: str, images: Path | None) -> Json:
    tables = [path for path, _ in files(source)]
    inputs = {"questions": storage.fingerprint((path.name, path) for path in tables)}
    if tables[0].suffix.lower() != ".parquet":
        found = records(source, language=language, images=images)
        pictures = {record.picture: record.file for record in found if record.file}
        inputs["pictures"] = storage.fingerprint(pictures.items())
    return inputs


def _refuse_lost(source: Path, parts: dict[str, Part], allow_missing: bool) -> None:
    if not parts:
        raise InputError(f"{source} holds no question in that language: name another --language")
    lost = {split: part.lost() for split, part in parts.items()}
    if any(lost.values()) and not allow_missing:
        counts = ", ".join(f"{len(n):,} of {len(parts[s].pictures):,} {s} pictures" for s, n in lost.items() if n)
        first = [picture for names in lost.values() for picture in names][:_SHOWN]
        raise InputError(
            f"{source}: {counts} are missing or broken ({', '.join(first)} ...): fetch them, or leave out their "
            "questions with --allow-missing; `llavamed benchmark check --json` lists them all"
        )


def _write(job: artifact.Job, found: Iterator[Record], parts: dict[str, Part], judged: Json, name: str) -> Json:
    known = BENCHMARKS.get(judged["benchmark"] or "")
    title = f"{known.title}, {judged['version'] or 'of no known version'}" if known else name
    rows: dict[str, list[Json]] = {split: [] for split in parts}
    written: Counter[str] = Counter()
    excluded: list[Json] = []
    splits: Json = {}

    def flush(split: str) -> None:
        if rows[split]:
            path = job.out / f"data/{split}-{written[split]:05d}.parquet"
            storage.write_table(path, rows[split], SCHEMA, repeats=True)
            written[split] += 1
            rows[split] = []

    pictures: dict[str, bytes] = {}  # of the rows not yet written: one copy of each
    for record in found:
        problem = record.problem or _lost(record, parts)
        if problem:
            excluded.append(_left_out(record, problem))
            continue
        image = pictures.setdefault(record.picture, b"") or record.load()
        pictures[record.picture] = image
        row = _row(record, image, name, known.title if known else name)
        rows[record.split].append(row)
        splits[record.split] = artifact.add(
            splits.get(record.split, {}), _count(record, known.licence if known else "")
        )
        if len(rows[record.split]) == _ROWS:
            flush(record.split)
            pictures = {}
    for split in rows:
        flush(split)
    if excluded:
        storage.write_table(job.out / "excluded/questions-00000.parquet", excluded, EXCLUDED)
    reasons = dict(sorted(Counter(row["reason"] for row in excluded).items()))
    kept = sum(part["conversations"] for part in splits.values())
    whole: Json = {}
    for part in splits.values():
        whole = artifact.add(whole, part["histograms"])
    return artifact.publish(
        job,
        counts={"conversations": {"in": kept + len(excluded), "kept": kept, "excluded": reasons}},
        histograms=whole | {"split": {split: part["conversations"] for split, part in splits.items()}},
        card=dataset_card(f"Benchmark: {title}", _card(known, judged), splits),
        splits=splits,
        benchmark=judged,
    )


def _lost(record: Record, parts: dict[str, Part]) -> Problem | None:
    found = parts[record.split].pictures[record.picture]
    return found if isinstance(found, Problem) else None


def _left_out(record: Record, problem: Problem) -> Json:
    return {
        "id": record.id,
        "pair_id": record.picture,
        "question": record.question,
        "answer": record.answer,
        "split": record.split,
        "source": record.where,
        "reason": problem.reason,
        "detail": problem.detail,
    }


def _row(record: Record, image: bytes, name: str, title: str) -> Json:
    question = of_record(record, image)
    turns = [("human", f"<image>\n{question.question}"), ("gpt", question.reference)]
    return {
        "question_id": record.id,
        "id": f"{record.id}_{name}",
        "pair_id": record.picture,
        "image": {"bytes": image, "path": record.file.name if record.file else None},
        "domain": None,
        "conversations": [{"from": who, "value": said} for who, said in turns],
        "teacher": title,
        "prompt_hash": "",
        "split": record.split,
        "answer_type": question.kind,
        "question_type": record.question_type,
        "organ": record.organ,
        "modality": record.modality,
        "language": record.language,
    }


def _count(record: Record, licence: str) -> Json:
    text = f"{record.question} {record.answer}"
    values = {"modality": record.modality, "licence": licence, "language": record.language}
    return {
        "conversations": 1,
        "turns": 1,
        "words": len(text.split()),
        "characters": len(record.question) + len(record.answer),
        "histograms": {name: {value or "unknown": 1} for name, value in values.items()},
    }


def _card(known: object, judged: Json) -> str:
    lines = ["Questions about pictures, one a row, with the benchmark's own answers.", ""]
    if known:
        lines += [f"Source: {known.source}. Licence, as stated: {known.licence}. Paper: {known.paper}.", ""]  # type: ignore[attr-defined]
    lines += ["| split | questions | open | closed | pictures |", "| --- | ---: | ---: | ---: | ---: |"]
    for split, size in judged["splits"].items():
        counts = " | ".join(f"{size[key]:,}" for key in ("questions", "open", "closed", "images"))
        lines.append(f"| {split} | {counts} |")
    for entry in [*judged["problems"], *judged["notes"]]:
        lines += ["", f"- {entry['what']}"]
    return "\n".join([*lines, "", "For research use only."])
