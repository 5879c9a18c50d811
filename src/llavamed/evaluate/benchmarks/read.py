"""Questions with their pictures, read where they lie.

Understood as they are published: VQA-RAD (`trainset.json`, `testset.json`, or the whole as `VQA_RAD Dataset
Public.json`), SLAKE (English and Chinese), PathVQA (`qas/*.pkl`); Hugging Face's Parquet of any of them; LLaVA's JSON;
and any JSON, JSON lines, CSV or Parquet with a picture, a question and an answer a row. Which column is what stands in
`NAMES`, how a benchmark names its kinds of question in `_SAYS`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from llavamed import artifact
from llavamed.corpus import dicom
from llavamed.corpus.images import RANKS, load
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.sources.columns import clean
from llavamed.corpus.sources.files import inside
from llavamed.corpus.sources.folder import DICOM
from llavamed.errors import InputError
from llavamed.evaluate import rows
from llavamed.evaluate.metrics import CLOSED, OPEN
from llavamed.storage import Json

# What a column holds -> the names understood, whatever their case; the first that holds something is taken.
NAMES = {
    "id": ("question_id", "qid", "id"),
    "image": ("image", "image_name", "img_name", "image_path", "file_name", "file", "img_id"),
    "question": ("question", "sent", "text"),
    "answer": ("answer", "reference", "label"),
    "answer_type": ("answer_type",),
    "question_type": ("question_type", "content_type"),
    "organ": ("organ", "image_organ", "location"),
    "modality": ("modality",),
    "split": ("split", "phrase_type"),
    "language": ("q_lang", "language", "lang"),
}
_TURNS = ("conversations", "conversatons")  # the second is what some published files have
_SPLITS = {"train": "train", "val": "validation", "dev": "validation", "test": "test"}
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(_SPLITS)})")
_KINDS = {"closed": CLOSED, "yes/no": CLOSED, "open": OPEN, "other": OPEN, "number": OPEN}
# As the benchmarks abbreviate -> in words.
_SAYS = {
    "abn": "abnormality",
    "attrib": "attribute",
    "atrib": "attribute",
    "count": "counting",
    "kg": "knowledge",
    "pos": "position",
    "pres": "presence",
    "abd": "abdomen",
}
_WITH_COLUMNS = (".csv", ".tsv", ".parquet")  # the same in every row
AGAIN = "~"  # 7~2: the second record with the id 7
Find = Callable[[str], Path | None]
_DEPTH = 2  # folders below the one named
_MOST = 64  # folders looked into for a picture
WHAT = (
    "VQA-RAD, SLAKE or PathVQA as published, Parquet of them, LLaVA JSON, or a CSV, JSON or JSON lines with columns "
    "image, question, answer"
)


@dataclass(frozen=True)
class Record:
    """One question as its source has it. `kind`: open, closed, or "" where the source does not say.

    `picture`: the same for all questions of one picture, which is `data`, or in `file`; neither where it is missing.
    `where`: file and row. `problem`: why it cannot be asked, its picture apart.
    """

    id: str
    split: str
    picture: str
    data: bytes = field(default=b"", repr=False)
    file: Path | None = None
    question: str = ""
    answer: str = ""
    kind: str = ""
    question_type: str = ""
    organ: str = ""
    modality: str = ""
    language: str = ""
    where: str = ""
    problem: Problem | None = None

    def load(self) -> bytes:
        """The picture's file.

        Raises:
            Problem: image_missing, image_broken, and what `dicom.png` raises.
        """
        if self.file is None and not self.data:
            raise Problem("image_missing", f"{self.where}: {self.picture or 'no picture is named'}")
        if self.file is None:
            return self.data
        return dicom.png(self.file) if self.file.suffix.lower() in DICOM else load(self.file)


def records(
    source: Path, split: str | None = None, *, language: str = "en", images: Path | None = None
) -> Iterator[Record]:
    """The questions of one split, or of all, in order. `images`: the folder of the pictures, where it is elsewhere.

    `language`: of a benchmark in several. Where neither a file's name nor its rows tell the split, it is test.

    Raises:
        InputError: `source` holds no questions, or a file of it cannot be read.
    """
    if images and not images.is_dir():
        raise InputError(f"{images} is no folder: name that of the pictures")
    language = language_of(source, language)
    root = source if source.is_dir() else source.parent
    taken: dict[str, int] = {}
    counted: dict[str, int] = {}
    for path, stated in files(source):
        if split and stated and stated != split:
            continue
        find = lru_cache(maxsize=None)(
            partial(_find, [*_folders(images or root, stated)])
        )  # a picture has many questions
        for number, row in enumerate(rows.read(path), start=1):
            where = f"{printable(path.relative_to(root).as_posix())}#{number}"
            for record in _of_row(row, stated, where, find):
                if record.language and record.language != language:
                    continue
                place = counted[record.split] = counted.get(record.split, -1) + 1
                if split in (None, record.split):
                    yield _with_id(record, place, taken)


def language_of(source: Path, language: str) -> str:
    """The language of a converted benchmark, which has but one; of any other source the one asked for."""
    made = (source / "manifest.json").is_file() and artifact.read_manifest(source)
    return str(made["settings"].get("language", language)) if made else language


def files(source: Path) -> list[tuple[Path, str]]:
    """The files of questions in a folder, in order, each with the split that its name tells, or "".

    Of files at several depths, or in several formats, the highest and the first of `rows.FORMATS` are taken.

    Raises:
        InputError: there is none, or two hold the same split.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist: name {WHAT}")
    if (source / "manifest.json").is_file():
        artifact.require(source, "conversations")
        source = source / "data"
    if source.is_file():
        if source.suffix.lower() not in rows.FORMATS:
            raise InputError(f"{source} is none of {', '.join(rows.FORMATS)}: name {WHAT}")
        if not _fits(source):
            raise InputError(f"{source}: no columns of image, question and answer; understood are {_understood()}")
        return [(source, _split_of(source.name))]
    level = [source]
    for _ in range(_DEPTH + 1):
        here = sorted(path for folder in level for path in folder.iterdir() if not path.name.startswith("."))
        for suffix in rows.FORMATS:
            found = [path for path in here if path.suffix.lower() == suffix and path.is_file() and _fits(path)]
            if found:
                return _apart(source, found)
        level = [path for path in here if path.is_dir() and not path.is_symlink()][:_MOST]
    raise InputError(f"{source} holds no questions: name {WHAT}")


def require_answers(source: Path) -> None:
    """Raises InputError: a table of `source` with columns has none for the answers."""
    for path, _ in files(source):
        first = next(iter(rows.read(path)), None) if path.suffix.lower() in _WITH_COLUMNS else None
        if isinstance(first, dict) and not _lower(first).keys() & {*NAMES["answer"], *_TURNS}:
            where = "" if path.suffix.lower() == ".parquet" else "the first line of "
            raise InputError(
                f"{where}{path} has no column `answer`, but {', '.join(map(str, first))}: name that of the answers one "
                f"of {', '.join(NAMES['answer'])}"
            )


def _apart(source: Path, found: list[Path]) -> list[tuple[Path, str]]:
    told = [(path, _split_of(path.name) or _split_of(path.relative_to(source).as_posix())) for path in found]
    for n, (path, split) in enumerate(told):
        twin = next((other for other, same in told[:n] if same == split), None)
        if twin and path.suffix.lower() != ".parquet":  # which is cut in parts
            raise InputError(f"{path} and {twin.name} both hold the {split or 'test'} questions: name one of them")
    return told


def _split_of(name: str) -> str:
    match = _SPLIT.search(name.lower())
    return _SPLITS[match[1]] if match else ""


def _fits(path: Path) -> bool:
    """Whether a file is a table of questions, by its first row. One that cannot be read is taken, and told of later."""
    try:
        first = next(iter(rows.read(path)), None)
    except InputError:
        return path.suffix.lower() != ".pkl"  # of which some are no list
    if not isinstance(first, dict):
        return first is not None and first.reason != rows.NO_TABLE
    row = _lower(first)
    return _image(row) is not None and ("question" in _known(row) or any(key in row for key in _TURNS))


def _understood() -> str:
    return "; ".join(f"{key}: {', '.join(NAMES[key])}" for key in ("image", "question", "answer"))


def _lower(row: Json) -> Json:
    return {str(key).lower().strip(): value for key, value in row.items()}


def _known(row: Json) -> Json:
    """What a row (names in lower case) holds, by our names."""
    found: Json = {}
    for what, names in NAMES.items():
        value = next((row[name] for name in names if row.get(name) not in (None, "", [], {})), None)
        if what != "image" and isinstance(value, dict):  # {"yes": 1}
            value = next(iter(value))
        text = clean(value)
        if text:
            found[what] = text
    return found


def _image(row: Json) -> Any:
    value = next((row[name] for name in NAMES["image"] if row.get(name) not in (None, "", [], {})), None)
    return value[0] if isinstance(value, list) else value


def _of_row(row: rows.Row, stated: str, where: str, find: Find) -> Iterator[Record]:
    """The question of a row; of a conversation, each of its questions."""
    if isinstance(row, Problem):
        yield Record("", stated or "test", "", where=where, problem=row)
        return
    row = _lower(row)
    known = _known(row)
    picture = _picture(_image(row), find)
    if "data" in picture and row.get("pair_id"):
        picture["picture"] = clean(row["pair_id"])
    kind = _KINDS.get(known.get("answer_type", "").lower(), "")
    about: dict[str, Any] = {
        **picture,
        "split": stated or _split_of(known.get("split", "")) or ("train" if "phrase_type" in row else "test"),
        "kind": kind,
        "question_type": _words(known.get("question_type", "").split(",")[0]),
        "organ": _words(known.get("organ", "")),
        "modality": known.get("modality", ""),
        "language": known.get("language", ""),
        "where": where,
    }
    said = [(known.get("question", ""), known.get("answer", ""))]
    turns = next((row[key] for key in _TURNS if row.get(key)), None)
    if turns is not None:
        said = list(_turns(turns))
    for n, (question, answer) in enumerate(said):
        name = known.get("id", "")
        own = f"{name}-{n}" if name and len(said) > 1 else name
        problem = None if question and answer else Problem("no_answer" if question else "no_question", where)
        yield Record(own, **{"problem": problem, **about}, question=question, answer=answer)


def _turns(turns: object) -> Iterator[tuple[str, str]]:
    """The questions of a conversation, each with the answer behind it."""
    said = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    asked = [n for n, turn in enumerate(said) if turn.get("from") in ("human", "user")]
    for n in asked:
        after = said[n + 1] if n + 1 < len(said) else {}
        answer = clean(after.get("value")) if after.get("from") in ("gpt", "assistant") else ""
        yield clean(clean(said[n].get("value")).replace("<image>", " ")), answer
    if not asked:
        yield "", ""


def _words(name: str) -> str:
    plain = " ".join(name.replace("_", " ").lower().split())
    return _SAYS.get(plain, plain)


def _with_id(record: Record, place: int, taken: dict[str, int]) -> Record:
    """The record with its own id; without one its place in its split, from 0; one that is taken is numbered."""
    name = record.id or str(place)
    taken[name] = taken.get(name, 0) + 1
    return replace(record, id=name if taken[name] == 1 else f"{name}{AGAIN}{taken[name]}")


def _folders(root: Path, split: str) -> Iterator[Path]:
    """Where pictures are looked for: the folder, images or imgs in it and what is in that, the other folders in it."""
    below = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    below.sort(key=lambda path: path.name.lower() not in ("images", "imgs"))
    inner = [path for folder in below[:1] for path in sorted(folder.iterdir()) if path.is_dir()]
    inner.sort(key=lambda path: _split_of(path.name) != split)
    yield from (root, *below[:_MOST], *inner[:_MOST])


def _picture(value: Any, find: Find) -> Json:
    """What a record holds of its picture: `picture`, `data`, `file`, and `problem` where its name leads outside."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        return {"picture": hashlib.sha256(data).hexdigest()[:16], "data": data}
    name = clean(value.get("path") if isinstance(value, dict) else value)
    if not name:
        return {"picture": ""}
    plain = PurePosixPath(name.replace("\\", "/")).as_posix()
    stem = plain.removesuffix(Path(plain).suffix) if _named(plain) else plain
    try:
        return {"picture": stem, "file": find(plain)}
    except Problem as problem:
        return {"picture": stem, "problem": problem}


def _find(folders: list[Path], name: str) -> Path | None:
    """The file of that name, or of that name with a suffix. Raises what `inside` raises."""
    names = [name] if _named(name) else [name, *(name + suffix for suffix in RANKS)]
    return next(filter(None, (inside(folder, one) for folder in folders for one in names)), None)


def _named(name: str) -> bool:
    """Whether a name has the suffix of a picture."""
    return Path(name).suffix.lower() in (*RANKS, *DICOM)
