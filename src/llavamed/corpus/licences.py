"""A licence as articles state it -> one code: SPDX where there is one.

CC0-1.0, CC-BY-4.0, CC-BY-NC-SA-3.0 ...; without the version (CC-BY) where none is stated; PDM-1.0 (public domain);
MIT, BSD-3-Clause (pictures out of software packages); TDM (text mining only); other (a statement that is none of
these); none-stated.
"""

import re
from functools import lru_cache

_LONGEST = 20_000  # characters that are looked at
_URL = re.compile(
    r"creativecommons\.org/(?:licen[cs]es?|publicdomain)/(zero|mark|(?:cc-)?by(?:-nc)?(?:-sa|-nd)?)(?![\w-])(?:/(\d\.\d))?",
    re.I,
)
_SOFTWARE = re.compile(r"opensource\.org/licenses?/(MIT|BSD-[23]-Clause)\b", re.I)  # of pictures in software packages
_SPDX = re.compile(
    r"\b(?:CC[\s-]?BY|creative\s*commons\s+(?:licen[cs]e\s+)?(?-i:BY))(?:[\s-](NC))?(?:[\s-](SA|ND))?(?:[\s-]v?(\d(?:\.\d)?))?\b",
    re.I,
)
_NAMED = re.compile(
    r"creative\s*commons\s+(?:licen[cs]e\s+)?\W*attribution|creativecommonsby|creative-commons-attribution", re.I
)
_NC = re.compile(
    r"(?<!commercial and )(?<!commercial or )non-?\s?commercial(?!\s+(?:and|or)\s+commercial)"
    r"|not (?:be )?used for commercial|creativecommonsby-?nc|attrib-non-comm",
    re.I,
)
_ND = re.compile(r"no\W?\s?deriv|non?-deriv", re.I)
_SA = re.compile(r"share\W?\s?alike", re.I)
_VERSION = re.compile(
    r"(?:licen[cs]e|commons|attribution|alike|derivs|derivatives|commercial|version|unported)\W+(?:\w+\W+){0,4}?([1-4]\.\d)\b",
    re.I,
)
_CC0 = re.compile(r"\bCC\s?-?0\b|creative commons (?:zero|public domain|cc0)|public domain dedication", re.I)
_WAIVER = re.compile(r"creative commons public domain dedication waiver.{0,80}?\bappl(?:y|ies)\b", re.I)  # to the data
_PUBLIC = re.compile(r"(?<!not )(?<!not in the )public domain|U\.?S\.? government work", re.I)
_TDM = re.compile(r"(?:available|used?) for text (?:and data )?mining", re.I)
# The terms of CC BY in words, as publishers wrote them before they linked to it.
_OPEN = re.compile(r"unrestricted (?:non-?commercial )?use,? .{0,40}distribution,? .{0,20}reproduction", re.I)


# What a build takes: `commercial` as PMC groups it (no NC), `open` any Creative Commons licence or none needed, `all`.
POLICIES = ("commercial", "open", "all")
_OPEN_CODES = ("CC0-", "PDM-", "MIT", "BSD-", "CC-BY")


def allows(policy: str, code: str) -> bool:
    """Whether a licence policy lets figures under the licence `code` through."""
    return policy == "all" or (code.startswith(_OPEN_CODES) and not (policy == "commercial" and "-NC" in code))


def code_of(url: str | None, statement: str, kind: str = "") -> str:
    """The code of a licence, from its address, its sentence, or the word in `license-type`; the first that tells."""
    return _code(*(" ".join(text.split())[:_LONGEST] for text in (url or "", statement, kind)))


@lru_cache(200)  # many articles state it in the same words
def _code(url: str, statement: str, kind: str) -> str:
    statement = _WAIVER.sub("", statement)
    for text in (url, statement, kind):
        match = _URL.search(text)
        if match:
            name, version = match[1].lower(), match[2]
            if name in ("zero", "mark"):
                return "CC0-1.0" if name == "zero" else "PDM-1.0"
            return _join(name.upper().removeprefix("CC-"), version)
        match = _SOFTWARE.search(text)
        if match:
            return match[1].upper().replace("CLAUSE", "Clause")
    for text in (statement, kind):
        found = _from_words(text)
        if found:
            return found
    return "other" if url or statement.strip() else "none-stated"


def _from_words(text: str) -> str:
    if _CC0.search(text):
        return "CC0-1.0"
    match = _SPDX.search(text)
    if match:
        version = match[3] + ".0" if match[3] and "." not in match[3] else match[3]
        return _join("-".join(part for part in ("BY", match[1], match[2]) if part).upper(), version)
    if _NAMED.search(text) or _OPEN.search(text):
        name = (
            "BY"
            + ("-NC" if _NC.search(text) else "")
            + ("-ND" if _ND.search(text) else "-SA" if _SA.search(text) else "")
        )
        version = _VERSION.search(text) if _NAMED.search(text) else None
        return _join(name, version[1] if version else None)
    if _TDM.search(text):
        return "TDM"
    return "PDM-1.0" if _PUBLIC.search(text) else ""


def _join(name: str, version: str | None) -> str:
    return f"CC-{name}-{version}" if version else f"CC-{name}"
