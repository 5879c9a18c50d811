"""JATS bytes -> article records with their figures. Pure: no file, network, DTD, or entity but character names."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from operator import attrgetter, itemgetter
from typing import NamedTuple

from lxml import etree

from llavamed.corpus import facts
from llavamed.corpus.citations import plain_places
from llavamed.corpus.entities import character
from llavamed.corpus.facts import href_of, text_of
from llavamed.corpus.mentions import index_of, mentions, nearest
from llavamed.corpus.problem import Problem
from llavamed.corpus.text import child, flat

Element = etree._Element
MAX_BYTES = 100_000_000
MAX_TEXT = 20_000_000  # characters of an article's captions and mentions: more were made to fill the memory
_ENTITY = re.compile(rb"&([A-Za-z][A-Za-z0-9.]{1,31});")
_MARK = b"<cut-out/>"
_NO_FIGURES = [b'ref-type="%b"' % kind for kind in (b"bibr", b"fn", b"table-fn", b"aff", b"corresp", b"author-notes")]
_FIGURE = re.compile(rb"F(?:ig|IG)")
_KEPT = (b"amp", b"lt", b"gt", b"quot", b"apos")
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_NO_FIGURE = frozenset(["fig"])
_OTHER = frozenset(["fig", "caption", "disp-formula", "inline-formula", "supplementary-material"])
# Of the same picture: lossless first, what cannot be read as pixels last.
_SUFFIXES = {"tif": 0, "tiff": 0, "png": 1, "jpg": 2, "jpeg": 2, "gif": 4, "svg": 5, "eps": 5, "pdf": 5}
_OTHER_SUFFIX = 3
_NO_NAME = re.compile(r"[^\w.()+-]")
_THUMBNAIL = re.compile(r"thumb|_small\b|\.sml$")


@dataclass(frozen=True)
class Figure:
    """One `<fig>`. Licence: its own where it states one.

    `in_text_mention`: the sentences that cite it; `mention_source`: how each does, by a tag ("xref"), within a range
    ("range") or in words ("text"). `graphics`: a list for each image it shows, of the files that hold it, best first.
    `sub_article`: the type of the sub-article it stands in.
    """

    fig_id: str
    fig_label: str | None
    fig_caption: str
    in_text_mention: list[str]
    mention_source: list[str]
    graphics: list[list[str]]
    licence: str
    licence_url: str | None
    sub_article: str | None


@dataclass(frozen=True)
class Article:
    """One `<article>`: its ids and facts, None where it does not state them, and every `<fig>` in it, in order.

    `published`: "2019", "2019-03" or "2019-03-07"; `notices`: retractions, corrections and the like, "kind id";
    `hosts`: where it says it is published.
    """

    pmcid: str | None
    pmid: str | None
    doi: str | None
    version: str | None
    title: str | None
    journal: str | None
    publisher: str | None
    year: int | None
    published: str | None
    language: str
    article_type: str | None
    subjects: list[str]
    licence: str
    licence_url: str | None
    retracted: bool
    notices: list[str]
    hosts: list[str]
    figures: list[Figure]


def parse(data: bytes) -> list[Article]:
    """The articles of a JATS (or NLM) file: one, or several where the file wraps a set.

    Raises:
        Problem: empty_file, xml_too_large, not_xml (also: nested deeper than 256, entities that grow), not_jats,
            too_many_mentions, too_much_text.
    """
    data, encoding = _utf8(data)
    root, found, data = _lightened(data, encoding) or _read(data, encoding)
    articles = {root: found} if root.tag == "article" else {element: _found(element) for element in _outermost(root)}
    if not articles:
        raise Problem("not_jats", f"the root is <{root.tag}>, with {len(found.figures)} fig and no article in it")
    untagged = plain_places(data) if found.figures else set()
    return [_article(element, figures, untagged) for element, figures in articles.items()]


class _Found(NamedTuple):
    """What is looked for in an article, in order; `xrefs`: those that may cite a figure."""

    figures: list[Element]
    xrefs: list[Element]
    marks: int


def _found(root: Element) -> _Found:
    figures, xrefs, marks = [], [], 0
    for element in root.iter("xref", "fig", "cut-out"):
        tag = element.tag
        if tag == "xref":
            if element.get("ref-type") != "bibr":  # most are of the literature
                xrefs.append(element)
        elif tag == "fig":
            figures.append(element)
        else:
            marks += 1
    return _Found(figures, xrefs, marks)


def _read(data: bytes, encoding: str | None) -> tuple[Element, _Found, bytes]:
    root = _tree(data, encoding)
    if root.tag != "article":
        _strip_namespaces(root)
    return root, _found(root), data


def _utf8(data: bytes) -> tuple[bytes, str | None]:
    """`data` in an encoding that has ASCII in it, and that encoding where it is not what the file states."""
    if not data or data.isspace():
        raise Problem("empty_file")
    if len(data) > MAX_BYTES:
        raise Problem("xml_too_large", f"{len(data):,} bytes; at most {MAX_BYTES:,}")
    if data[:2] not in _UTF16:
        return data, None
    try:
        return data.decode(_UTF16[data[:2]]).encode(), "utf-8"
    except UnicodeError as error:
        raise Problem("not_xml", str(error)) from None


def _lightened(data: bytes, encoding: str | None) -> tuple[Element, _Found, bytes] | None:
    """As `_read`, without authors, tables and references, most of what there is to parse; None if not safe.

    They hold nothing that is asked for, unless a figure stands or is cited there: then they stay. What looks like one
    but is none, in a comment say, leaves a tree that is broken or has too few marks.
    """
    body, end = data.find(b"<body"), data.rfind(b"</ref-list>")
    lists = data.rfind(b"<ref-list", 0, max(end, 0))
    cuts = [*_cuts(data, b"<contrib-group", b"</contrib-group>", 0, max(body, 0))]
    cuts += _cuts(data, b"<table", b"</table>", max(body, 0), lists)
    if end >= 0 and not _speaks_of_figures(data, lists, end):
        cuts.append((lists, end + len(b"</ref-list>")))
    if end >= 0:
        cuts += _cuts(data, b"<table", b"</table>", end, len(data))
    if not cuts:
        return None
    pieces: list[bytes | memoryview] = []
    view, end = memoryview(data), 0
    for begin, close in sorted(cuts):
        pieces += [view[end:begin], _MARK]
        end = close
    try:
        root, found, data = _read(b"".join([*pieces, view[end:]]), encoding)
    except Problem:
        return None
    return (root, found, data) if found.marks == len(cuts) else None


def _cuts(data: bytes, opening: bytes, closing: bytes, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Where the elements between `first` and `last` begin and end that neither hold nor cite a figure.

    `last`: -1 where there is nothing to end at. Of one within another a half would stay, which breaks the tree.
    """
    last = len(data) if last < 0 else last
    begin = data.find(opening, first, last)
    while begin >= 0:
        after = begin + len(opening)
        close = data.find(closing, after, last) if data[after : after + 1] in (b" ", b">") else after
        if close < 0:
            return
        if close > after and not _speaks_of_figures(data, begin, close):
            yield begin, close + len(closing)
        begin = data.find(opening, close, last)


def _speaks_of_figures(data: bytes, begin: int, end: int) -> bool:
    """Whether a figure may stand or be cited there; a word does so in a table, but not among references or authors."""
    is_table = data.startswith(b"<table", begin)
    if data.rfind(b"fig" if is_table else b"<fig", begin, end) >= 0 or (is_table and _FIGURE.search(data, begin, end)):
        return True
    xrefs = data.count(b"<xref", begin, end)
    for kind in _NO_FIGURES:
        if not xrefs:
            break
        xrefs -= data.count(kind, begin, end)
    return xrefs != 0


def _tree(data: bytes, encoding: str | None) -> Element:
    try:
        root = etree.fromstring(_ENTITY.sub(_character, data).lstrip(), _parser(encoding))
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise Problem("not_xml", str(error)) from None
    if root is None:
        raise Problem("not_xml", "no element in it")
    return root


@cache
def _parser(encoding: str | None) -> etree.XMLParser:
    """A new one for each file would take a third of the time."""
    # Without `collect_ids` lxml would load the DTD: never turn it off.
    return etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def _character(match: re.Match[bytes]) -> bytes:
    """`&minus;` -> `&#8722;`; XML's own five and unknown names stay."""
    name = match[1]
    text = None if name in _KEPT else character(name.decode())
    return "".join(f"&#{ord(c)};" for c in text).encode() if text else match[0]


def _strip_namespaces(root: Element) -> None:
    for element in root.iter("{*}*"):
        if "}" in element.tag:
            element.tag = element.tag.rpartition("}")[2]


def _outermost(root: Element) -> list[Element]:
    return [e for e in root.iter("article") if next(e.iterancestors("article"), None) is None]


def _article(article: Element, found: _Found, untagged: set[tuple[str, int]]) -> Article:
    """`untagged`: the figures that the file may cite without a tag."""
    meta = child(article, "front", "article-meta")
    if meta is None:
        meta = etree.Element("article-meta")
    journal = child(article, "front", "journal-meta")
    licence, licence_url = facts.licence(meta)
    ids = facts.article_ids(meta)
    title = text_of(child(meta, "title-group", "article-title"), frozenset(["fn", "xref"]))
    published = facts.published(meta)
    notices = facts.notices(article, meta, ids)
    return Article(
        pmcid=ids.get("pmcid"),
        pmid=ids.get("pmid"),
        doi=ids.get("doi"),
        version=ids.get("version"),
        title=title,
        journal=facts.journal(journal) if journal is not None else None,
        publisher=text_of(next(journal.iter("publisher-name"), None)) if journal is not None else None,
        year=int(published[:4]) if published else None,
        published=published,
        language=facts.language(article),
        article_type=article.get("article-type") or None,
        subjects=facts.subjects(meta),
        licence=licence,
        licence_url=licence_url,
        retracted=facts.is_retracted(title, notices),
        notices=notices,
        hosts=facts.hosts(meta),
        figures=_figures(article, found, licence, licence_url, untagged),
    )


def _figures(
    article: Element, found: _Found, licence: str, licence_url: str | None, untagged: set[tuple[str, int]]
) -> list[Figure]:
    if not found.figures:
        return []
    index = index_of(found.figures, found.xrefs)
    everywhere = any(not untagged.isdisjoint([(name, n), ("", n)]) for _, name, n in index.stated)
    cited = mentions(article, index, found.xrefs, everywhere)
    names = _Names()
    groups: dict[Element, tuple[str, str]] = {}
    figures = []
    size = 0
    for position, element in enumerate(found.figures):
        own = licence, licence_url
        if child(element, "permissions") is not None:  # a copyright of its own: the article's licence may not hold
            code, url = facts.licence(element)
            own = ("other" if code == "none-stated" else code), url
        around = index.around[position]
        label, caption = _said(element, index.labels[position], nearest(around, "fig-group"), groups)
        size += len(label) + len(caption) + sum(map(len, cited[position]))
        if size > MAX_TEXT:
            raise Problem("too_much_text", f"captions and mentions of over {MAX_TEXT:,} characters in one article")
        figures.append(
            Figure(
                fig_id=names.new(" ".join(element.get("id", "").split()) or f"fig{position + 1}"),
                fig_label=label or None,
                fig_caption=caption,
                in_text_mention=list(cited[position]),
                mention_source=list(cited[position].values()),
                graphics=_graphics(element),
                licence=own[0],
                licence_url=own[1],
                sub_article=_sub_article(nearest(around, "sub-article", "response")),
            )
        )
    return figures


def file_name(text: str) -> str:
    """`text` with what may not stand in a file's name replaced by `_`."""
    return _NO_NAME.sub("_", text).lstrip(".")


class _Names:
    """Names that stay apart when `file_name` writes them."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def new(self, name: str) -> str:
        """`name`, or `name-2` where an earlier figure has it."""
        base = file_name(name)
        unique, n = name, self._taken.get(base, 0)
        while n and file_name(unique := f"{name}-{n + 1}") in self._taken:
            n += 1
        self._taken[base] = n + 1
        if n:
            self._taken.setdefault(file_name(unique), 1)
        return unique


def _said(
    figure: Element, label: str, group: Element | None, groups: dict[Element, tuple[str, str]]
) -> tuple[str, str]:
    """(label, caption), those of its group first. `groups`: what is known of them already."""
    # Old articles put the paragraphs straight into the figure.
    caption = _joined(figure.iterchildren("caption")) or _joined(figure.iterchildren("title", "p"))
    if group is None:
        return label, caption
    if group not in groups:
        groups[group] = flat(child(group, "label")), _joined(group.iterchildren("caption"))
    return label or groups[group][0], f"{groups[group][1]} {caption}".strip()


def _joined(elements: Iterator[Element]) -> str:
    """Their text, without that of figures in them."""
    return " ".join(filter(None, (flat(element, _NO_FIGURE) for element in elements)))


def _graphics(figure: Element) -> list[list[str]]:
    """The images a figure shows, and the files of each; a film only where it has no image."""
    images: dict[object, list[tuple[int, str]]] = {}  # rank and address by what holds the renditions together
    thumbnails = []
    for element in sorted(figure.iter("graphic", "media"), key=attrgetter("tag")):  # graphics first
        href = href_of(element)
        parent = element.getparent()
        if not href or (parent is not figure and not _is_shown(element, figure)) or (element.tag == "media" and images):
            continue
        use = f"{element.get('specific-use', '')} {element.get('content-type', '')} {href}"
        stem, _, suffix = href.rpartition(".")
        rank = _SUFFIXES.get(suffix.lower(), _OTHER_SUFFIX) + (10 if "print" in use else 0)
        together = parent if parent is not None and parent.tag == "alternatives" else stem or href
        small = _THUMBNAIL.search(use.lower()) is not None
        if small and together is not parent:
            thumbnails.append(href)
        else:
            rank += 100 if small else 0
            images.setdefault(together, []).append((rank, href))
    found = [[href for _, href in sorted(files, key=itemgetter(0))] for files in images.values()]
    for href in thumbnails:
        found[-1:] = [[*(found[-1] if found else []), href]]
    return found


def _is_shown(element: Element, figure: Element) -> bool:
    """Whether it is an image of this figure: not of one inside it, a formula's or a caption's symbol, or a file."""
    for around in element.iterancestors():
        if around is figure:
            return True
        if around.tag in _OTHER:
            return False
    return False


def _sub_article(part: Element | None) -> str | None:
    return None if part is None else part.get("article-type") or part.get("response-type") or part.tag
