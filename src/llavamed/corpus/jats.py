"""JATS bytes -> article records with their figures. Pure: no file, network, DTD, or entity but character names."""

import codecs
import re
from dataclasses import dataclass
from html.entities import html5

from lxml import etree

from llavamed.corpus.licences import code_of
from llavamed.corpus.mentions import mentions
from llavamed.corpus.problem import Problem
from llavamed.corpus.text import flat

Element = etree._Element
MAX_BYTES = 100_000_000
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_ENTITY = re.compile(rb"&([A-Za-z][A-Za-z0-9]{1,31});")
_KEPT = (b"amp", b"lt", b"gt", b"quot", b"apos")
_PMCID = re.compile(r"(?:PMC)?(\d+)(?:\.\d+)?$", re.IGNORECASE)
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_NOT_PUBLISHED = ("pmc-release", "nihms-submitted", "received", "accepted")


@dataclass(frozen=True)
class Figure:
    """One `<fig>`. `graphics`: the images it names, best first. Licence: its own where it states one."""

    fig_id: str
    fig_label: str | None
    fig_caption: str
    in_text_mention: list[str]
    graphics: list[str]
    licence: str
    licence_url: str | None


@dataclass(frozen=True)
class Article:
    """One `<article>`: its ids and facts, None where it does not state them, and every `<fig>` in it, in order."""

    pmcid: str | None
    pmid: str | None
    doi: str | None
    version: str | None
    title: str | None
    journal: str | None
    publisher: str | None
    year: int | None
    language: str
    article_type: str | None
    licence: str
    licence_url: str | None
    retracted: bool
    figures: list[Figure]


def parse(data: bytes) -> list[Article]:
    """The articles of a JATS (or NLM) file: one, or several where the file wraps a set.

    Raises:
        Problem: empty_file, xml_too_large, not_xml (also: nested deeper than 256, entities that grow), not_jats.
    """
    root = _tree(data)
    for element in root.iter():
        tag = element.tag
        if isinstance(tag, str) and "}" in tag:
            element.tag = tag.rpartition("}")[2]
    articles = [e for e in root.iter("article") if next(e.iterancestors("article"), None) is None]
    if not articles:
        inside = sum(1 for _ in root.iter("fig"))
        raise Problem("not_jats", f"the root is <{root.tag}>, with {inside} fig and no article in it")
    return [_article(element) for element in articles]


def _tree(data: bytes) -> Element:
    if not data.strip():
        raise Problem("empty_file")
    if len(data) > MAX_BYTES:
        raise Problem("xml_too_large", f"{len(data):,} bytes; at most {MAX_BYTES:,}")
    encoding = None
    if data[:2] in _UTF16:
        try:
            data, encoding = data.decode(_UTF16[data[:2]]).encode(), "utf-8"
        except UnicodeDecodeError as error:
            raise Problem("not_xml", str(error)) from None
    parser = etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(_ENTITY.sub(_character, data).lstrip(), parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise Problem("not_xml", str(error)) from None
    if root is None:
        raise Problem("not_xml", "no element in it")
    return root


def _character(match: re.Match[bytes]) -> bytes:
    """`&minus;` -> `&#8722;`: the JATS DTD's names are those of HTML 5; XML's own five and unknown names stay."""
    name = match[1]
    text = None if name in _KEPT else html5.get(f"{name.decode()};")
    return "".join(f"&#{ord(c)};" for c in text).encode() if text else match[0]


def _article(article: Element) -> Article:
    front = article.find("front")
    meta = article.find("front/article-meta")
    if meta is None:
        meta = etree.Element("article-meta")
    journal = front.find("journal-meta") if front is not None else None
    licence, licence_url = _licence(meta)
    return Article(
        pmcid=_pmcid(_id(meta, "pmc", "pmcid")),
        pmid=_id(meta, "pmid"),
        doi=_doi(_id(meta, "doi")),
        version=_text(next(meta.iter("article-version"), None)) or _version(_id(meta, "pmc-ver")),
        title=_text(meta.find("title-group/article-title"), frozenset(["fn", "xref"])),
        journal=_text(next(journal.iter("journal-title"), None)) if journal is not None else None,
        publisher=_text(next(journal.iter("publisher-name"), None)) if journal is not None else None,
        year=_year(meta),
        language=_language(article),
        article_type=article.get("article-type") or None,
        licence=licence,
        licence_url=licence_url,
        retracted=_retracted(article, meta),
        figures=_figures(article, licence, licence_url),
    )


def _figures(article: Element, licence: str, licence_url: str | None) -> list[Figure]:
    elements = list(article.iter("fig"))
    sentences = mentions(article, elements)
    taken: set[str] = set()
    figures = []
    for position, (element, cited) in enumerate(zip(elements, sentences, strict=True), start=1):
        own = licence, licence_url
        if element.find("permissions") is not None:  # a copyright of its own: the article's licence may not hold
            code, url = _licence(element)
            own = ("other" if code == "none-stated" else code), url
        figures.append(
            Figure(
                fig_id=_unique(" ".join(element.get("id", "").split()) or f"fig{position}", taken),
                fig_label=_label(element),
                fig_caption=_caption(element),
                in_text_mention=cited,
                graphics=_graphics(element),
                licence=own[0],
                licence_url=own[1],
            )
        )
    return figures


def file_name(text: str) -> str:
    """`text` with what may not stand in a file's name replaced by `_`."""
    return re.sub(r"[^\w.()+-]", "_", text).lstrip(".")


def _unique(name: str, taken: set[str]) -> str:
    """`name`, or `name-2` where an earlier figure has it, compared as `file_name` writes them."""
    unique, n = name, 1
    while file_name(unique) in taken:
        n += 1
        unique = f"{name}-{n}"
    taken.add(file_name(unique))
    return unique


def _label(figure: Element) -> str | None:
    group = next(figure.iterancestors("fig-group"), None)
    return _text(figure.find("label")) or (_text(group.find("label")) if group is not None else None)


def _caption(figure: Element) -> str:
    """Title and paragraphs; a group's caption stands before its figure's own."""
    group = next(figure.iterancestors("fig-group"), None)
    parts = [*(group.findall("caption") if group is not None else ()), *figure.findall("caption")]
    if not figure.findall("caption"):  # old articles put the paragraphs straight into the figure
        parts += [element for element in figure if element.tag in ("title", "p")]
    return " ".join(filter(None, (flat(part, frozenset(["fig"])) for part in parts)))


def _graphics(figure: Element) -> list[str]:
    """The files a figure names: not its formulas' or its caption's symbols, not those of a figure inside it."""
    found = []
    for element in figure.iter("graphic", "media"):
        around = [e.tag for e in element.iterancestors()]
        inside = around[: around.index("fig")] if next(element.iterancestors("fig")) is figure else None
        href = _href(element)
        if inside is None or not href or {"disp-formula", "inline-formula", "caption"} & set(inside):
            continue
        use = f"{element.get('specific-use', '')} {element.get('content-type', '')}".lower()
        found.append(("thumb" in use, href))
    return [href for _, href in sorted(found, key=lambda entry: entry[0])]


def _licence(holder: Element) -> tuple[str, str | None]:
    """(code, address) of an article's metadata or a figure; the first licence that is a known one."""
    found: tuple[str, str | None] = "none-stated", None
    for licence in (*holder.findall("permissions/license"), *holder.findall("license")):
        links = [_href(licence), *(flat(e) for e in licence.iter("license_ref"))]
        links += [_href(e) for e in licence.iter("ext-link", "uri")]
        links = [link for link in links if link]
        url = next((link for link in links if "creativecommons.org" in link.lower()), links[0] if links else None)
        found = code_of(url, flat(licence), licence.get("license-type", "")), url
        if found[0] != "other":
            return found
    statements = (*holder.findall("permissions/copyright-statement"), *holder.findall("copyright-statement"))
    code = code_of(None, " ".join(map(flat, statements)))  # NLM 2: the licence stands in the copyright line
    return found if code in ("other", "none-stated") else (code, None)


def _id(meta: Element, *kinds: str) -> str | None:
    ids = (_text(e) for e in meta.findall("article-id") if e.get("pub-id-type") in kinds)
    return next(filter(None, ids), None)


def _pmcid(text: str | None) -> str | None:
    match = _PMCID.match(text or "")
    return f"PMC{match[1]}" if match else None


def _version(text: str | None) -> str | None:
    """The 2 of "PMC77.2", as PMC numbers the versions of an article."""
    return text.rpartition(".")[2] if text and "." in text else None


def _doi(text: str | None) -> str | None:
    match = re.search(r"10\.\d{3,}\S*/\S+", text or "")
    return match[0] if match else None


def _text(element: Element | None, without: frozenset[str] = frozenset()) -> str | None:
    return flat(element, without) or None


def _href(element: Element) -> str:
    return next((str(v).strip() for k, v in element.attrib.items() if str(k).rpartition("}")[2] == "href"), "")


def _year(meta: Element) -> int | None:
    """The first year of publication."""
    dates = [d for d in meta.iter("pub-date") if d.get("pub-type", d.get("date-type")) not in _NOT_PUBLISHED]
    years = [int(y) for d in dates for y in re.findall(r"\b(?:1[6-9]|20)\d\d\b", flat(d.find("year")))]
    return min(years, default=None)


def _language(article: Element) -> str:
    """ISO 639, lower case. The JATS and NLM DTDs give `en` to an article that states none; "und": stated, but empty."""
    stated = article.get(_XML_LANG, "en").strip().lower()
    return re.split(r"[-_]", stated)[0] or "und"


def _retracted(article: Element, meta: Element) -> bool:
    kinds = [
        article.get("article-type", ""),
        *(e.get("related-article-type", "") for e in meta.iter("related-article")),
    ]
    title = flat(meta.find("title-group/article-title"))
    return any("retract" in kind.lower() for kind in kinds) or bool(re.match(r"\W*retract(?:ed|ion)\b", title, re.I))
