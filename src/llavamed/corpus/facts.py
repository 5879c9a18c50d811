"""What an article states of itself: ids, dates, subjects, licence, notices."""

import re
from functools import lru_cache
from itertools import chain
from urllib.parse import urlsplit

from lxml import etree

from llavamed.corpus.licences import code_of
from llavamed.corpus.text import child, flat

Element = etree._Element
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_PMCID = re.compile(r"(?:PMC)?(\d+)(?:\.\d+)?$", re.IGNORECASE)
_DOI = re.compile(r"10\.\d{3,}\S*/\S+")
_YEAR = re.compile(r"\b(?:1[6-9]|20)\d\d\b")
_DAY = re.compile(r"\d+")
_NOT_PUBLISHED = re.compile(
    r"pmc-release|submitted|received|accepted|created|rev-|retract|correct|update|preprint|embargo"
)
_NOTICE = re.compile(r"retract|correct|corrig|errat|concern|withdraw|removal", re.IGNORECASE)
# "Retracted: ...", "[Retracted] ...", "Retraction notice to ...", "... (Retracted article)"; not "Retraction pockets".
_RETRACTED = re.compile(
    r"^\W*(?:retract(?:ed|ion)|withdrawn)\b"
    r"(?:\W*[:\])–—]|\s-\s|\s(?:article|paper|notice|note|statement)\b|\sof\W*[:\"“‘«])"
    r"|[(\[]\s*retract(?:ed|ion)\b[^()\[\]]{0,40}[)\]]\W*$",
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def text_of(element: Element | None, without: frozenset[str] = frozenset()) -> str | None:
    """`flat`, None where there is none."""
    return flat(element, without) or None


def href_of(element: Element) -> str:
    """Its link, whatever the namespace; "" without one."""
    if link := element.get(_XLINK):
        return str(link).strip()
    return next((str(v).strip() for k, v in element.attrib.items() if str(k).rpartition("}")[2] == "href"), "")


def article_ids(meta: Element) -> dict[str, str]:
    """{pmcid, pmid, doi, version}, those that are stated."""
    stated: dict[str, str] = {}
    for element in meta.iterchildren("article-id"):
        text = flat(element)[:500]
        if text:
            stated.setdefault(element.get("pub-id-type", ""), text)
    pmcid = _PMCID.match(stated.get("pmc") or stated.get("pmcid", ""))
    version = flat(next(meta.iter("article-version"), None)) or stated.get("pmc-ver", "").rpartition(".")[2]
    ids = {
        "pmcid": f"PMC{pmcid[1]}" if pmcid else "",
        "pmid": stated.get("pmid", ""),
        "doi": doi_in(stated.get("doi", "")),
        "version": version if "." in stated.get("pmc-ver", ".") else "",  # the 2 of "PMC77.2", as PMC numbers them
    }
    return {name: value for name, value in ids.items() if value}


def doi_in(text: str) -> str:
    """The DOI in `text`, "" without one."""
    match = _DOI.search(text[:500])
    return match[0] if match else ""


def journal(meta: Element) -> str | None:
    """The journal's title, or what is abbreviated of it."""
    names = (*meta.iter("journal-title"), *meta.iter("abbrev-journal-title"))
    ids = (e for e in meta.iter("journal-id") if e.get("journal-id-type") in ("nlm-ta", "iso-abbrev"))
    return next(filter(None, map(text_of, (*names, *ids))), None)


def published(meta: Element) -> str | None:
    """The earliest date of publication, as precise as stated: "2019", "2019-03", "2019-03-07"."""
    dates = []
    for element in meta.iter("pub-date"):
        if not _has(_NOT_PUBLISHED, (element.get("pub-type") or element.get("date-type") or "")[:100]):
            dates += _dates(element)
    # "2019" is the same date as "2019-03-07", less precise.
    year, month, day = min(dates, key=lambda date: (date[0], date[1] or 99, date[2] or 99), default=(0, 0, 0))
    if not year:
        return None
    return f"{year}-{month:02}-{day:02}" if month and day else f"{year}-{month:02}" if month else f"{year}"


@lru_cache(1000)
def _has(pattern: re.Pattern[str], kind: str) -> bool:
    """Whether a kind of date, article or notice is one of these; few kinds are stated anywhere."""
    return pattern.search(kind) is not None


def _dates(element: Element) -> list[tuple[int, int, int]]:
    """(year, month, day) of a date, 0 for what is not stated; several where it names several years."""
    parts = {str(part.tag): flat(part) for part in element.iter() if part is not element}
    iso = element.get("iso-8601-date", "").split("T")[0].split("-")
    year, month, day = (*iso, "", "")[:3] if "year" not in parts and "string-date" not in parts else ("", "", "")
    years = _YEAR.findall(parts.get("year") or parts.get("string-date") or year)
    number = _month(parts.get("month", month))
    digits = _DAY.search(parts.get("day", day)[:9]) if number else None
    date = int(digits[0]) if digits and 1 <= int(digits[0]) <= 31 else 0
    return [(int(found), number, date) for found in years]


def _month(text: str) -> int:
    if text.isdecimal():
        return int(text) if len(text) < 3 and 1 <= int(text) <= 12 else 0
    return _MONTHS.index(text[:3].lower()) + 1 if text[:3].lower() in _MONTHS else 0


def subjects(meta: Element) -> list[str]:
    """The subject headings, groups within groups flattened, each once."""
    groups = meta.iterchildren("article-categories")
    headings = chain.from_iterable(group.iter("subject", "compound-subject") for group in groups)
    return list(dict.fromkeys(filter(None, map(flat, headings))))


def notices(article: Element, meta: Element, ids: dict[str, str]) -> list[str]:
    """Each retraction, correction, erratum or expression of concern: "kind id".

    For a link the kind is its `related-article-type`, the id what it links to; for an article that is a notice
    itself, its article type and its own id.
    """
    found = []
    kind = article.get("article-type", "")
    if _has(_NOTICE, kind[:100]):
        found.append(f"{kind} {ids.get('doi') or ids.get('pmcid') or ids.get('pmid', '')}")
    for element in meta.iter("related-article"):
        kind = element.get("related-article-type", "")
        if _has(_NOTICE, kind[:100]):
            link = href_of(element) or flat(element)[:200]
            found.append(f"{kind} {doi_in(link) or link}")
    return list(dict.fromkeys(" ".join(notice.split()) for notice in found))


def is_retracted(title: str | None, kinds: list[str]) -> bool:
    """By the title, or by a kind of article or notice."""
    return any("retract" in kind.lower() for kind in kinds) or _RETRACTED.search((title or "").lower()) is not None


def hosts(meta: Element) -> list[str]:
    """The hosts of the addresses at which the article is published, lower case."""
    found = []
    for element in meta.iterchildren("self-uri"):
        try:
            found.append(urlsplit(href_of(element) or flat(element)).hostname)
        except ValueError:  # "http://[": no address
            continue
    return list(dict.fromkeys(filter(None, found)))


def language(article: Element) -> str:
    """ISO 639, lower case. The JATS and NLM DTDs give `en` to an article that states none; "und": stated, but empty."""
    stated = article.get(_XML_LANG, "en").strip().lower()
    return re.split(r"[-_]", stated)[0] or "und"


def licence(holder: Element) -> tuple[str, str | None]:
    """(code, address) of an article's metadata or a figure; the first licence that is a known one."""
    found: tuple[str, str | None] = "none-stated", None
    permissions = child(holder, "permissions")
    around = () if permissions is None else (permissions,)
    tags = (*((e, "license") for e in (*around, holder)), *((e, "{*}license_ref") for e in around))
    for element in chain.from_iterable(parent.iterchildren(tag) for parent, tag in tags):
        links = [href_of(element), *(flat(e) for e in element.iter("{*}license_ref"))]
        links += [href_of(e) for e in element.iter("ext-link", "uri")]
        links = [link for link in links if link]
        url = next((link for link in links if "creativecommons.org" in link.lower()), links[0] if links else None)
        code = code_of(url, "")  # the address tells, most often
        if code in ("other", "none-stated"):
            code = code_of(url, flat(element), element.get("license-type", ""))
        found = code, url
        if found[0] != "other":
            return found
    statements = chain.from_iterable(parent.iterchildren("copyright-statement") for parent in (*around, holder))
    code = code_of(None, " ".join(map(flat, statements)))  # NLM 2: the licence stands in the copyright line
    return found if code in ("other", "none-stated") else (code, None)
