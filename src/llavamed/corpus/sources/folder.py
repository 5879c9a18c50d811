"""A user's own pictures: DICOM, TIFF, PNG, JPEG ... in a folder, with a CSV or TSV of captions."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from llavamed.console import console
from llavamed.corpus import dicom
from llavamed.corpus.entry import Candidate, Entry, Graphic, Json
from llavamed.corpus.images import RANKS, load
from llavamed.corpus.jats import file_name
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.sources import columns
from llavamed.corpus.sources.files import PART, below, day, inside, listing, outside
from llavamed.errors import InputError

LISTS = (".csv", ".tsv")
DICOM = (".dcm", ".dicom", ".dic", ".ima")
INDEX = "DICOMDIR"  # of a medium: names its files, holds no picture
_MAX_LINE = 4_000_000
_MAX_FIELD = 1_000_000


@dataclass(frozen=True)
class Table:
    """A CSV of captions: how it is written. `file`, `caption`: its columns."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    begin: int  # byte at which its rows begin

    def rows(self, begin: int, count: int | None = None) -> Iterator[tuple[int, Json]]:
        """(byte at which the next row begins, the row): `count` of them from the byte `begin`."""
        with self.path.open("rb") as stream:
            stream.seek(begin)
            reader = csv.reader((line.decode(self.encoding) for line in _lines(stream)), delimiter=self.delimiter)
            before = csv.field_size_limit(_MAX_FIELD)
            try:
                while count is None or count > 0:
                    row = next(reader, None)
                    if row is None:
                        return
                    if row:  # not an empty line
                        yield stream.tell(), dict(zip(self.header, row, strict=False))
                        count = count - 1 if count is not None else None
            finally:
                csv.field_size_limit(before)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """One at a time and no further, so that the stream stands where the next begins."""
    while line := stream.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise csv.Error(f"a line of {_MAX_LINE:,} bytes or more")
        yield line


@dataclass(frozen=True)
class Item:
    """Some rows of a table, or (`table` is None) pictures that no row names."""

    name: str
    collected: str
    figures: int
    root: Path
    table: Table | None = None
    begin: int = 0
    first: int = 1  # number of the first row
    again: tuple[int, ...] = ()  # numbers of rows whose picture an earlier row names
    unlisted: tuple[str, ...] = field(default=(), repr=False)


def reads(source: Path) -> bool:
    """Whether `source` is a CSV with columns for a file and a caption, or a folder with one."""
    return bool(_tables(source))


def _tables(source: Path) -> list[Table]:
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    found = [_open(path) for path in paths if path.suffix.lower() in LISTS and path.is_file()]
    return [table for table in found if table]


def _open(path: Path) -> Table | None:
    """None if the first line does not name a column for a file and one for a caption."""
    with path.open("rb") as stream:
        line = stream.readline(_MAX_LINE)
    wide = line.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = line.decode("utf-16" if wide else "utf-8-sig", "replace")
    for delimiter in ",;\t|":
        try:
            header = next(csv.reader([text], delimiter=delimiter), [])
        except csv.Error:
            continue
        if columns.find(header, "image") and columns.find(header, "fig_caption"):
            if wide:
                raise InputError(f"{path} is in UTF-16: save it as CSV in UTF-8")
            return Table(path, _encoding(path), delimiter, tuple(header), len(line))
    return None


def _encoding(path: Path) -> str:
    """The first that every line is in: UTF-8, Windows-1252, Latin-1."""
    for encoding in ("utf-8", "cp1252"):
        with path.open(encoding=encoding, newline="") as stream, suppress(UnicodeDecodeError):
            while stream.read(1 << 20):
                pass
            return encoding
    return "latin-1"


def list_items(source: Path, images: Path | None = None) -> tuple[list[Item], list[tuple[str, Path]]]:
    """(rows in parts, then the pictures without one; every file that counts by its name).

    Raises:
        InputError: a table cannot be read to its end.
    """
    root = images or (source if source.is_dir() else source.parent)
    tables = _tables(source)
    for table in tables:
        if table.encoding != "utf-8":
            console.print(f"{table.path.name} is not in UTF-8: read as {table.encoding}", highlight=False)
    pictures = [name for name in below(root, _may_be_picture) if _has_suffix(name) or _is_dicom(root / name)]
    items: list[Item] = []
    known, taken = set(pictures), set[str]()
    for table in tables:
        items += _parts(table, root, known, taken)
    rest = [name for name in pictures if name not in taken]
    for begin in range(0, len(rest), PART):
        part = tuple(rest[begin : begin + PART])
        items.append(Item(printable(part[0]), day(root / part[0]), len(part), root, unlisted=part))
    files = [(table.path.name, table.path) for table in tables]
    return items, files + [(f"pictures/{printable(name)}", root / name) for name in pictures]


def _has_suffix(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in RANKS or suffix in DICOM


def _may_be_picture(name: str) -> bool:
    """With a suffix of pictures; or, as scanners write DICOM, with none or a number for one."""
    suffix = PurePosixPath(name).suffix[1:]
    return _has_suffix(name) or ((not suffix or suffix.isdigit()) and name != INDEX)


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return dicom.is_dicom(stream.read(132))
    except OSError:
        return False


def _parts(table: Table, root: Path, known: set[str], taken: set[str]) -> Iterator[Item]:
    """The rows in parts; which of the `known` pictures each names is added to `taken`."""
    name, date = printable(table.path.name), day(table.path)
    begin, first, number = table.begin, 1, 0
    again: list[int] = []
    try:
        with listing(table.path) as reached:
            for number, (end, row) in enumerate(table.rows(table.begin), start=1):
                picture = next((each for each in _names(row) if each in known), None)
                if picture in taken:
                    again.append(number)
                elif picture:
                    taken.add(picture)
                if number - first + 1 == PART:
                    yield Item(name, date, PART, root, table, begin, first, tuple(again))
                    reached(end)
                    begin, first, again = end, number + 1, []
    except csv.Error as error:
        raise InputError(f"{table.path}, row {number + 1}: {error}: is a quote not closed?") from None
    if number >= first:
        yield Item(name, date, number - first + 1, root, table, begin, first, tuple(again))


def _names(row: Json) -> Iterator[str]:
    """The file that a row names, with the suffixes that it may lack, as paths below the folder."""
    name = str(row.get(columns.find(row, "image") or "") or "").strip().replace("\\", "/")
    if name:
        plain = name if outside(name) else PurePosixPath(name).as_posix()
        yield from (plain + suffix for suffix in ("", *DICOM[:1], *RANKS))


def _picture(root: Path, row: Json) -> Path | None:
    """The file that a row names. Raises what `inside` raises."""
    return next(filter(None, (inside(root, name) for name in _names(row))), None)


def entries(item: Item) -> Iterator[Entry]:
    """A figure for each row, and for each picture that no row names."""
    if item.table is None:
        for name in item.unlisted:
            text = {"pair_id": file_name(printable(name)), "fig_caption": ""}
            problem = Problem("no_caption_row", f"no row of the CSV names {name}")
            yield Entry(text, name, [], problem, source=printable(name))
        return
    count = item.figures
    for number, (_, row) in enumerate(item.table.rows(item.begin, count), start=item.first):
        yield _entry(item, number, row)


def _entry(item: Item, number: int, row: Json) -> Entry:
    """A row: its words come from the table alone; a DICOM adds what kind of image it is and what it must not tell."""
    named = columns.clean(row.get(columns.find(row, "image") or ""))
    where = f"{item.name}, row {number}"
    text: Json = {"pair_id": file_name(named or where)[:200], "fig_caption": ""}
    try:
        text, group, kinds = columns.read(row, named or where)
        text |= {"pair_id": file_name(named or where)[:200], "fig_id": columns.clean(row.get(_id(row))) or None}
        if number in item.again:
            raise Problem("duplicate_row", f"{where}: an earlier row names {named}")
        path = _picture(item.root, row)
        if path is None:
            raise Problem("image_missing", f"{where}: {named}" if named else f"{where} names no file")
    except Problem as problem:
        detail = problem.detail if problem.detail.startswith(where) else f"{where}: {problem.detail}"
        return Entry(text, where, [], Problem(problem.reason, detail), source=item.name)
    source = printable(path.relative_to(item.root).as_posix())
    if path.suffix.lower() not in DICOM and not _is_dicom(path):
        graphic = Graphic(named, [Candidate(source, partial(load, path))])
        return Entry(text, group or source, [graphic], source=source, modality=kinds)
    graphic = Graphic(named, [Candidate(source, partial(dicom.png, path))])
    try:
        patient, flags, dropped, stated = dicom.about(path)
    except Problem as problem:
        return Entry(
            text, group or source, [graphic], Problem(problem.reason, f"{source}: {problem.detail}"), source=source
        )
    return Entry(
        text,
        group or patient or source,
        [graphic],
        flags=flags,
        dropped=dropped,
        modality=kinds or stated,
        source=source,
    )


def _id(row: Json) -> str:
    return next((key for key in row if key.lower().strip() in ("id", "image_id", "pair_id")), "")
