"""A summary as a file: Markdown, HTML, DOCX or JSON, each from the same document."""

from pathlib import Path

from llavamed import storage
from llavamed.errors import InputError
from llavamed.summary.document import Document
from llavamed.summary.facts import Facts
from llavamed.summary.render import json, markdown
from llavamed.summary.render.words import clean


def write(document: Document, facts: Facts, path: Path) -> None:
    """Write `document` in the format that the ending of `path` names: .md or .json. JSON holds `facts` too.

    The same document and facts are the same bytes, and a file that holds them is not touched. A character that XML
    cannot hold is replaced by U+FFFD, in every format.

    Raises:
        InputError: another ending, or `path` is a folder.
    """
    _check(path)
    document = clean(document)
    page = json.page(document, clean(facts)) if path.suffix == ".json" else markdown.page(document)
    data = page.encode()
    if not path.is_file() or path.read_bytes() != data:
        storage.write_text(path, page)


def _check(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it, such as {path / 'summary.md'}")
    if path.suffix not in (".md", ".json"):
        raise InputError(f"{path}: a summary is .md or .json: name the file so")
