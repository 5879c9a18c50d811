"""What is in a set of questions: sizes, its published version, what is missing, what test and training share."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from llavamed.console import progress
from llavamed.corpus.problem import Problem
from llavamed.corpus.schema import SPLITS
from llavamed.errors import InputError
from llavamed.evaluate import rows
from llavamed.evaluate.benchmarks.known import BENCHMARKS, Benchmark, Split, Version, text_hash, version_of
from llavamed.evaluate.benchmarks.read import AGAIN, Record, files, language_of, records, require_answers
from llavamed.evaluate.looks import Look, alike, look
from llavamed.evaluate.metrics import CLOSED, OPEN
from llavamed.evaluate.questions import Question, of_record
from llavamed.storage import Json

_SHOWN = 10  # examples of a problem in the terminal


@dataclass
class Part:
    """One split. `pictures`: how each looks, or why it cannot be shown, by its name."""

    questions: list[Question] = field(default_factory=list)  # without their pictures
    broken: list[str] = field(default_factory=list)
    repeated_ids: list[str] = field(default_factory=list)
    pictures: dict[str, Look | Problem] = field(default_factory=dict)

    def size(self) -> Split:
        """Its counts and the hash of its text."""
        kinds = Counter(q.kind for q in self.questions)
        text = text_hash((q.question, q.reference) for q in self.questions)
        return Split(len(self.questions), kinds[OPEN], kinds[CLOSED], len(self.pictures), text)

    def lost(self) -> list[str]:
        """The names of the pictures that are not there or cannot be read."""
        return sorted(name for name, found in self.pictures.items() if isinstance(found, Problem))

    def key(self, name: str) -> str:
        """What a picture is known by: its pixels; its name where it is missing."""
        found = self.pictures[name]
        return found.pixels if isinstance(found, Look) else f"name {name}"

    def asked(self, question: Question) -> tuple[str, str]:
        """What two questions have in common that are the same about the same picture."""
        return self.key(question.pair_id), " ".join(question.question.lower().split())


def check(
    source: Path,
    *,
    language: str = "en",
    images: Path | None = None,
    allow_missing: bool = False,
    allow_overlap: bool = False,
) -> Json:
    """Look at every record and picture of a set; see `judge` for what is told.

    Raises:
        InputError: `source` holds no questions or has no column of answers, or a file of it cannot be read.
    """
    key, language = layout(source), language_of(source, language)
    require_answers(source)
    parts = read(partial(records, source, language=language, images=images))
    if not parts:
        raise InputError(f"{source} holds no question in the language {language}: name another --language")
    allowed = {kind for kind, on in (("missing", allow_missing), ("overlap", allow_overlap)) if on}
    return judge(parts, key, language, allowed)


def judge(parts: dict[str, Part], key: str, language: str, allowed: set[str]) -> Json:
    """`{benchmark, version, language, splits: {name: {questions, open, closed, images, hash, text, lost,
    lost_questions}}, overlap: {name: {same, alike, questions, examples}}, problems, notes, ok}`; problems and notes are
    `[{kind, what, examples}]`.

    `text`: whether questions and answers are those of the published version: same, other, or unknown, where no hash of
    it is known. `lost`: pictures that are missing or broken. `overlap`: how many of the test pictures are in another
    split (pixel for pixel, or merely alike), and how many test questions repeat one of it about the same picture.
    What a published version is known for, or what is allowed, is a note and no problem. `key`: see `layout`.
    """
    sizes = {name: part.size() for name, part in parts.items()}
    found = version_of(sizes, language, key)
    splits = {name: _described(name, size, parts[name], found) for name, size in sizes.items()}
    shared = {name: overlap(parts["test"], part) for name, part in parts.items() if name != "test" and "test" in parts}
    told = [*_of_version(sizes, found, key), *_of_parts(parts), *_of_overlap(shared, parts)]
    warning = found[1].warning if found else ""
    if found and all(split["text"] != "other" for split in splits.values()):
        allowed = allowed | {"repeated", "broken"}  # as they were published
    allowed = allowed | {"alike", *(["overlap"] if warning else [])}
    notes = [entry for entry in told if entry["kind"] in allowed]
    problems = [entry for entry in told if entry["kind"] not in allowed]
    if warning and not shared:
        notes.append(_entry("overlap", warning))
    return {
        "benchmark": found[0].key if found else key or None,
        "version": found[1].name if found else None,
        "language": language,
        "splits": splits,
        "overlap": shared,
        "problems": problems,
        "notes": notes,
        "ok": not problems,
    }


def read(found: Callable[[], Iterable[Record]]) -> dict[str, Part]:
    """The splits of a set, every picture looked at once. `found`: gives the records; they are counted first."""
    parts: dict[str, Part] = {}
    looks: dict[object, Look | Problem] = {}
    with progress("looking at pictures", sum(1 for _ in found()), "questions") as advance:
        for record in found():
            _take(record, parts.setdefault(record.split, Part()), looks)
            advance()
    return {name: parts[name] for name in SPLITS if name in parts}


def _take(record: Record, part: Part, looks: dict[object, Look | Problem]) -> None:
    if record.problem and record.problem.reason != "path_outside":
        part.broken.append(f"{record.where} ({record.problem.reason})")
    if not record.question:
        return
    if AGAIN in record.id:
        part.repeated_ids.append(record.id.partition(AGAIN)[0])
    part.questions.append(of_record(record, b""))
    if record.picture not in part.pictures:
        place = record.file or record.picture
        if place not in looks:
            looks[place] = _look(record)
        part.pictures[record.picture] = looks[place]


def _look(record: Record) -> Look | Problem:
    try:
        return look(record.load())
    except Problem as problem:
        return problem


def layout(source: Path) -> str:
    """The benchmark whose own columns a set has, or ""."""
    first = next(iter(rows.read(files(source)[0][0])), None)
    columns = set(first) if isinstance(first, dict) else set()
    return next((key for key, benchmark in BENCHMARKS.items() if benchmark.columns <= columns), "")


def overlap(test: Part, other: Part) -> Json:
    """What the test split shares with another: `{same, alike, questions, examples}`."""
    theirs = {other.key(name) for name in other.pictures}
    same = [name for name in test.pictures if test.key(name) in theirs]
    rest = {n: x for n, x in test.pictures.items() if isinstance(x, Look) and n not in set(same)}
    looks = [found for found in other.pictures.values() if isinstance(found, Look)]
    near = {list(rest)[a] for a, _ in alike(list(rest.values()), looks)}
    asked = {other.asked(question) for question in other.questions}
    again = [question.id for question in test.questions if test.asked(question) in asked]
    return {"same": len(same), "alike": len(near), "questions": len(again), "examples": [*again, *same]}


def _entry(kind: str, what: str, examples: Iterable[str] = ()) -> Json:
    return {"kind": kind, "what": what, "examples": list(examples)}


def _of_version(sizes: dict[str, Split], found: tuple[Benchmark, Version] | None, key: str) -> Iterable[Json]:
    if found is None and key:
        has = ", ".join(f"{name} {s.questions:,} ({s.open:,} open, {s.closed:,} closed)" for name, s in sizes.items())
        yield _entry("version", f"{BENCHMARKS[key].title} by its columns, but of no known version: {has}")
    for name, size in sizes.items() if found else ():
        if _text(name, size, found) == "other":
            yield _entry("text", f"the {name} split has the published counts, but other questions or answers")


def _text(name: str, size: Split, found: tuple[Benchmark, Version] | None) -> str:
    known = found[1].splits[name].hash if found else None
    return "unknown" if known is None else "same" if known == size.hash else "other"


def _of_parts(parts: dict[str, Part]) -> Iterable[Json]:
    for name, part in parts.items():
        lost = part.lost()
        if lost:
            asked = sum(question.pair_id in set(lost) for question in part.questions)
            what = f"{name}: {len(lost):,} of {len(part.pictures):,} pictures are missing or broken, "
            reasons = [f"{picture} ({part.pictures[picture].reason})" for picture in lost]  # type: ignore[union-attr]
            yield _entry("missing", f"{what}which {asked:,} of {len(part.questions):,} questions ask about", reasons)
        if part.broken:
            yield _entry("broken", f"{name}: {len(part.broken):,} records without question or answer", part.broken)
        if part.repeated_ids:
            yield _entry("ids", f"{name}: {len(part.repeated_ids):,} ids are taken already", part.repeated_ids)
        repeats = Counter((part.asked(q), q.reference.lower()) for q in part.questions)
        again = sum(repeats.values()) - len(repeats)
        if again:
            yield _entry("repeated", f"{name}: {again:,} questions stand there again, with the same picture and answer")


def _of_overlap(shared: dict[str, Json], parts: dict[str, Part]) -> Iterable[Json]:
    for name, common in shared.items():
        what = f"{common['same']:,} of {len(parts['test'].pictures):,} test pictures are {name} pictures, "
        what += f"{common['alike']:,} more look like one, "
        what += f"{common['questions']:,} test questions repeat a question and picture of it"
        kind = "overlap" if common["same"] or common["questions"] else "alike"
        if common["alike"] or kind == "overlap":
            yield _entry(kind, what, common["examples"])


def _described(name: str, size: Split, part: Part, found: tuple[Benchmark, Version] | None) -> Json:
    lost = set(part.lost())
    asked = sum(question.pair_id in lost for question in part.questions)
    return {**asdict(size), "text": _text(name, size, found), "lost": len(lost), "lost_questions": asked}


def table(result: Json) -> RenderableType:
    """A check for the terminal."""
    what = BENCHMARKS[result["benchmark"]].title if result["benchmark"] else "no published benchmark"
    title = f"{what}, {result['version']}" if result["version"] else what
    shown = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    shown.add_column("split")
    names = ("questions", "open", "closed", "images", "lost")
    for heading in names:
        shown.add_column(heading, justify="right")
    shown.add_column("text")
    shown.add_column("hash", no_wrap=True)
    for name, size in result["splits"].items():
        shown.add_row(name, *(f"{size[key]:,}" for key in names), size["text"], size["hash"][:12])
    lines = [f"problem: {entry['what']}{_examples(entry)}" for entry in result["problems"]]
    lines += [f"note: {entry['what']}{_examples(entry)}" for entry in result["notes"]]
    return Group(shown, *lines)


def _examples(entry: Json) -> str:
    first = entry["examples"][:_SHOWN]
    more = ", ..." if len(entry["examples"]) > _SHOWN else ""
    return f" ({', '.join(first)}{more})" if first else ""
