"""A summary as a file: Markdown, HTML, DOCX or JSON, each from the same document."""

from pathlib import Path

from llavamed import storage
from llavamed.errors import InputError
from llavamed.summary.document import Document
from llavamed.summary.facts import Facts
from llavamed.summary.render import docx, html, json, markdown
from llavamed.summary.render.words import clean

ENDINGS = (".md", ".html", ".docx", ".json")


def write(document: Document, facts: Facts, path: Path) -> None:
    """Write `document` in the format that the ending of `path` names (ENDINGS). JSON holds `facts` too.

    The same document and facts are the same bytes, and a file that holds them is not touched. A character that XML
    cannot hold, or that overrides the direction of text, is replaced by U+FFFD, in every format.

    Raises:
        InputError: another ending, or `path` is a folder.
    """
    _check(path)
    data = _file(clean(document), clean(facts), path.suffix)
    if not path.is_file() or path.read_bytes() != data:
        storage.write_bytes(path, data)


def _file(document: Document, facts: Facts, ending: str) -> bytes:
    if ending == ".docx":
        return docx.file(document)
    if ending == ".json":
        return json.page(document, facts).encode()
    return (html.page(document) if ending == ".html" else markdown.page(document)).encode()


def _check(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it, such as {path / 'summary.md'}")
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: a summary ends in one of {', '.join(ENDINGS)}: name the file so")
