"""What kind of source a file or a folder is: one kind, or it is refused, so that nothing in it is passed over."""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from llavamed import artifact
from llavamed.corpus.sources import articles, files, folder, llava, parquet, webdataset
from llavamed.corpus.sources.archives import is_archive
from llavamed.errors import InputError

LISTS = (folder, llava)  # a list at the top of a folder; its pictures may lie in a folder of their own
READERS = (*LISTS, parquet, webdataset, articles)
_CALLED = {folder: "a list of pictures", llava: "JSON", parquet: "Parquet", webdataset: "WebDataset",
           articles: "articles", artifact: "a corpus or other artifact"}  # fmt: skip
_MANIFEST = "manifest.json"


def reader_of(source: Path, out: Path | None = None) -> Any:
    """The module that reads a source; None for a file that none reads. `out`: a folder that is being written.

    Raises:
        InputError: a folder holds several kinds of source, or one that must be named itself.
    """
    if source.is_file():
        return next((reader for reader in READERS if reader.reads(source)), None)
    found = _found(source, out)
    if len(found) > 1:
        kinds = ", ".join(f"{_CALLED[kind]} ({name})" for (kind, _), name in found.items())
        raise InputError(f"{source} holds several sources of figures: {kinds}: name each as a source of its own")
    for (kind, is_below), name in found.items():
        if kind is artifact or is_below:
            raise InputError(f"{source / name} is that of {_CALLED[kind]}: name {(source / name).parent} as the source")
        return kind
    return articles


def _found(source: Path, out: Path | None) -> dict[tuple[Any, bool], str]:
    """(kind, whether it is a list further below) -> the first file of it in a folder."""
    names = [*files.below(source, _may_tell)]
    made = {_folder(name): _made(source / name) for name in names if name.endswith(f"/{_MANIFEST}")}
    made = {place: kind for place, kind in made.items() if kind}
    count = Counter(_folder(name) for name in names if name.lower().endswith(articles.XML))
    packages = {place for place, n in count.items() if place and n == 1}
    found: dict[tuple[Any, bool], str] = {}
    for name in names:
        is_xml, above = name.lower().endswith(articles.XML), _above(name)
        if above & made.keys() or (not is_xml and above & packages) or (is_xml and (articles, False) in found):
            continue  # of an artifact; what came with an article; one of many
        if kind := _kind(source / name):
            found.setdefault((kind, kind in LISTS and "/" in name), name)
    for place, kind in made.items():
        if kind in ("articles", "corpus") and not (out and (source / place).resolve() == out.resolve()):
            found.setdefault((artifact, False), f"{place}/{_MANIFEST}")
    return found


def _may_tell(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) or is_archive(name)


_SUFFIXES = (*articles.XML, *folder.LISTS, *llava.SUFFIXES, parquet.SUFFIX)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _above(name: str) -> set[str]:
    """The folders that a file lies in, below the source."""
    parts = name.split("/")
    return {"/".join(parts[:n]) for n in range(1, len(parts))}


def _kind(path: Path) -> Any:
    """What a file in a folder is a source of; None: of nothing, or of what only reading it all can tell."""
    name = path.name.lower()
    if name.endswith(parquet.SUFFIX):
        return parquet
    if is_archive(name):
        if articles.is_named_after_article(name):  # not opened: there may be a million
            return articles
        return {"articles": articles, "samples": webdataset}.get(webdataset.peek(path))
    if name.endswith(articles.XML):
        return articles if articles.is_jats(path) else None
    if name.endswith(folder.LISTS):
        return folder if folder.reads(path) else None
    return llava if llava.is_layout(path) else None


def _made(manifest: Path) -> str:
    """The kind of artifact that a manifest is of; "" for a file of another program."""
    with suppress(InputError, OSError):
        return str(artifact.read_manifest(manifest.parent)["kind"])
    return ""
