"""Article files: JATS XML with its images beside it, packages and archives of such."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import ClassVar

from llavamed.corpus import jats
from llavamed.corpus.entry import Candidate, Entry, Graphic
from llavamed.corpus.images import MAX_BYTES, RANKS, VECTORS, by_stem, find, load
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.schema import TEXT
from llavamed.corpus.sources.archives import BROKEN, is_archive, members, without_suffix
from llavamed.corpus.sources.files import below, day, is_plain, outside, refuse

XML = (".nxml", ".xml")
MAX_MEMBERS = 20_000
MAX_HELD = 2_000_000_000  # bytes of an archive's articles and images, held in memory
_PMC = re.compile(r"(?<![A-Za-z])PMC(\d+)(?:\.(\d+))?(?!\d)")
_HEAD = 200_000  # bytes in which an article's ids stand
_ARTICLE_ID = re.compile(
    rb"<(?:\w+:)?article-id\b[^>]*\bpub-id-type\s*=\s*[\"'](pmc|pmcid|pmid|doi)[\"'][^>]*>\s*([^<\s]+)"
)
_ROOT = re.compile(rb"[<:]article[\s>]")
_META_END = re.compile(rb"</(?:\w+:)?article-meta\s*>")


@dataclass(frozen=True)
class Item:
    """One article file: an XML file or an archive. `name`: its path below SRC. `stem`: its name, unlike any other's."""

    figures: ClassVar[int] = 8  # about so many in one

    path: Path
    name: str
    collected: str  # the file's modification date, UTC
    images_beside: bool
    stem: str = ""
    duplicate_of: str = ""

    @property
    def is_archive(self) -> bool:
        """Whether it is a tar archive."""
        return is_archive(self.name)


@dataclass
class Package:
    """What an item holds: its XML files and images by name, and what is wrong with it, if anything."""

    articles: dict[str, bytes] = field(default_factory=dict)
    images: dict[str, bytes | Path] = field(default_factory=dict)
    stems: dict[str, list[str]] = field(default_factory=dict)  # of `images`, for `find`
    problem: Problem | None = None


def reads(source: Path) -> bool:
    """Whether `source` is an article file."""
    return _is_article(source.name)


def is_jats(path: Path) -> bool:
    """Whether an XML file is an article, as its name or its head tells."""
    if path.suffix.lower() == ".nxml":
        return True
    with path.open("rb") as stream:
        return _ROOT.search(stream.read(_HEAD).replace(b"\0", b"")) is not None  # UTF-16 too


def is_named_after_article(name: str) -> bool:
    """Whether an archive is called as PMC calls an article's: PMC123.tar.gz."""
    return _PMC.fullmatch(without_suffix(name)) is not None


def list_items(source: Path) -> tuple[list[Item], list[tuple[str, Path]]]:
    """(article files in order, every file that counts by its name)."""
    if source.is_file():
        names = [source.name, *(_images_below(source.parent) if source.name.lower().endswith(XML) else ())]
        root, articles = source.parent, [source.name]
    else:
        names, root = sorted(below(source, _wanted)), source
        articles = [name for name in names if _is_article(name)]
    pictured = {_folder(name) for name in names if _is_image(name)}
    items = [
        Item(root / name, printable(name), day(root / name), is_archive(name) or _folder(name) in pictured)
        for name in articles
    ]
    return items, [(printable(name), root / name) for name in names]


def _is_article(name: str) -> bool:
    return name.lower().endswith(XML) or is_archive(name)


def _wanted(name: str) -> bool:
    return _is_article(name) or _is_image(name)


def _is_image(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in RANKS or suffix in VECTORS


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def mark_duplicates(items: list[Item]) -> list[Item]:
    """The same items, each with a `stem` of its own; of those that are one article all but the best marked.

    Best: with images, then the latest version, then unpacked, then the first. Two are one article if they share a
    PMCID, PMID or DOI, as the head of the XML states them; for an archive, as its name does.
    """
    ranked = sorted(
        enumerate(items), key=lambda e: (not e[1].images_beside, -_version(e[1].name), e[1].is_archive, e[0])
    )
    first: dict[str, str] = {}
    stems: set[str] = set()
    marked = {}
    for index, item in ranked:
        keys = _keys(item)
        original = next((first[key] for key in keys if key in first), "")
        for key in keys:
            first.setdefault(key, original or item.name)
        stem, n = jats.file_name(without_suffix(re.sub(r"(?i)\.n?xml$", "", PurePosixPath(item.name).name))), 1
        while (unique := stem if n == 1 else f"{stem}-{n}") in stems:
            n += 1
        stems.add(unique)
        marked[index] = Item(item.path, item.name, item.collected, item.images_beside, unique, original)
    return [marked[index] for index in range(len(items))]


def _version(name: str) -> int:
    versions = [int(match[2] or 0) for match in _PMC.finditer(name)]
    return max(versions, default=0)


def _keys(item: Item) -> list[str]:
    """What an article is known by, before it is read."""
    if item.is_archive:
        match = _PMC.search(PurePosixPath(item.name).name)
        return [f"pmc{match[1]}"] if match else []
    try:
        with item.path.open("rb") as stream:
            head = _META_END.split(stream.read(_HEAD))[0]
    except OSError:
        return []  # told when it is read
    found = []
    for kind, value in _ARTICLE_ID.findall(head):
        text = value.decode("utf-8", "replace").lower()
        number = text.removeprefix("pmc").split(".")[0]
        if kind == b"doi" and text.startswith("10."):
            found.append(f"doi:{text}")
        elif kind != b"doi" and number.isdigit():
            found.append(f"{kind[:3].decode()}{number}")
    return found


def entries(item: Item) -> Iterator[Entry]:
    """An item's articles and their figures, each with the reason to leave it out, if there is one."""
    package = read(item)
    problem = package.problem
    if item.duplicate_of:
        problem = problem or Problem("duplicate_article", f"the same article as {item.duplicate_of}")
    if problem and not package.articles:
        yield Entry({}, problem=problem)
    seen: set[str] = set()
    for name, data in package.articles.items():
        try:
            articles = jats.parse(data)
        except Problem as error:
            yield Entry({}, problem=problem or error)
            continue
        for article in articles:
            ids = {x for x in (article.pmcid, article.pmid, article.doi) if x}
            again = (
                Problem("duplicate_article", f"the same article as another file of {item.name}") if ids & seen else None
            )
            seen |= ids
            yield from _article(article, item, package, name, problem or again)


def _article(
    article: jats.Article, item: Item, package: Package, name: str, problem: Problem | None
) -> Iterator[Entry]:
    about = {key: getattr(article, key) for key in TEXT if hasattr(article, key)}
    group = article.pmcid or article.doi or item.stem
    yield Entry(about, group, problem=problem)
    prefix = article.pmid or article.pmcid or article.doi or item.stem
    folder = name.rpartition("/")[0]
    for figure in article.figures:
        text = about | {key: getattr(figure, key) for key in TEXT if hasattr(figure, key)}
        text["pair_id"] = jats.file_name(f"{prefix}_{figure.fig_id}")
        graphics = [_graphic(hrefs, package, folder) for hrefs in figure.graphics]
        yield Entry(text, group, graphics, problem)


def _graphic(hrefs: list[str], package: Package, folder: str) -> Graphic:
    files = dict.fromkeys(file for href in hrefs for file in find(href, package.stems, folder))
    return Graphic(hrefs[0], [Candidate(file, partial(load, package.images[file])) for file in files])


def read(item: Item) -> Package:
    """An item's XML and the images beside it; of an archive that is broken or unsafe, as much as was read, and why."""
    if item.is_archive:
        return _read_archive(item.path)
    package = Package()
    try:
        with item.path.open("rb") as stream:
            package.articles[item.path.name] = stream.read(jats.MAX_BYTES + 1)
        package.images, package.stems = _beside(item.path.parent)
    except OSError as error:
        package.problem = Problem("unreadable", f"{type(error).__name__}: {error.strerror}")
    return package


@lru_cache(maxsize=64)
def _beside(folder: Path) -> tuple[dict[str, bytes | Path], dict[str, list[str]]]:
    """Images in `folder`, and in those of its folders that hold no article of their own."""
    names = _images_below(folder)
    return {name: folder / name for name in names}, by_stem(names)


def _images_below(folder: Path) -> list[str]:
    names = []
    for here, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        if here != str(folder) and any(name.lower().endswith(XML) for name in files):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(here, name)
            if _is_image(name) and not name.startswith(".") and is_plain(path):
                names.append(path.relative_to(folder).as_posix())
    return sorted(names)


def _read_archive(path: Path) -> Package:
    package = Package()
    try:
        _read_members(path, package)
    except Problem as problem:
        package.problem = problem
    except BROKEN as error:
        package.problem = Problem("archive_broken", f"{type(error).__name__}: {error}")
    package.stems = by_stem(package.images)
    if not package.articles and package.problem is None:
        package.problem = Problem("no_article", "no .nxml or .xml in the archive")
    return package


def _read_members(path: Path, package: Package) -> None:
    unsafe, held = None, 0
    for count, (tar, member) in enumerate(members(path)):
        if count >= MAX_MEMBERS:
            raise Problem("archive_too_large", f"over {MAX_MEMBERS:,} members: cut it into several")
        if outside(member.name) or ((member.islnk() or member.issym()) and outside(member.linkname)):
            unsafe = unsafe or Problem("unsafe_archive", f"member {member.name} points outside")
            continue
        if member.issparse():  # a few bytes that say they are gigabytes
            unsafe = unsafe or Problem("unsafe_archive", f"member {member.name} is sparse")
            continue
        name = PurePosixPath(member.name)
        wanted = name.suffix.lower() in XML or _is_image(member.name)
        if not member.isfile() or not wanted or name.name.startswith("."):
            continue
        content = tar.extractfile(member)
        data = content.read(MAX_BYTES + 1) if content else b""
        held += len(data)
        if held > MAX_HELD:
            raise Problem("archive_too_large", f"over {MAX_HELD:,} bytes of articles and images: cut it into several")
        (package.articles if name.suffix.lower() in XML else package.images)[member.name] = data
    if unsafe:
        raise unsafe
