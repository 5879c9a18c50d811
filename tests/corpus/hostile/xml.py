"""XML: bent bytes, bombs, odd encodings, and texts that are slow to read if read badly."""

import random
import re

from packages import LICENCE, cite, encoded, fig, jats, pixels

from hostile import Where, cut, flip, splice

IMAGE = encoded(pixels(1, 16), "JPEG")
BODY = "".join(
    f"<sec><title>Part {n}</title><p>As {cite(n)} shows, at <italic>e.g.</italic> 37.5 °C. See Figs {n}-3.</p></sec>"
    f"{fig(n, 'Chest <bold>X-ray</bold>. (a) Before, (b) after.')}"
    for n in (1, 2, 3)
)
PLAIN = jats(BODY)


def _files(data: bytes) -> dict:
    return {"PMC77.nxml": data, "g1.jpg": IMAGE}


def _bent(bend):
    return lambda rng, where: _files(bend(PLAIN, rng))


def _text(make):
    """An article made of text."""
    return lambda rng, where: _files(make(rng))


def _swap(data: bytes, rng: random.Random) -> bytes:
    tags = list(re.finditer(rb"</?[\w-]+", data))
    first, second = sorted(rng.sample(tags, 2), key=lambda m: m.start())
    return data[: first.start()] + second[0] + data[first.end() : second.start()] + first[0] + data[second.end() :]


def _rename(data: bytes, rng: random.Random) -> bytes:
    """An element becomes another one throughout, and stays well formed."""
    old = rng.choice(
        [b"p", b"fig", b"sec", b"caption", b"xref", b"label", b"graphic", b"body", b"front", b"article-meta"]
    )
    new = rng.choice(
        [b"fig", b"xref", b"sup", b"article", b"fig-group", b"table", b"p", b"object-id", b"label", b"x:y"]
    )
    return re.sub(rb"(</?)" + old + rb"(?=[\s/>])", rb"\1" + new, data)


def _with_dtd(subset: str, text: str, where: str = "") -> bytes:
    head, body = PLAIN.split(b"?>", 1)
    body = body.replace(b"Part 1", text.encode()).replace(b"Chest", text.encode())
    return head + b"?>" + f"<!DOCTYPE article {where} [{subset}]>".encode() + body


def _laughs(rng: random.Random, where: Where) -> dict:
    depth, width = rng.choice([(10, 10), (30, 2), (5, 100)])
    lines = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * width}">' for n in range(1, depth))
    return _files(_with_dtd(f'<!ENTITY e0 "ha">{lines}', f"&e{depth - 1};"))


def _quadratic(rng: random.Random, where: Where) -> dict:
    return _files(_with_dtd(f'<!ENTITY e "{"x" * 100_000}">', "&e;" * rng.choice([10, 5000])))


def _external(rng: random.Random, where: Where) -> dict:
    target = rng.choice([where.canary.as_uri(), str(where.canary), f"{where.url}/x", "file:///etc/passwd"])
    kind = rng.randrange(5)
    if kind == 0:
        return _files(_with_dtd(f'<!ENTITY e SYSTEM "{target}">', "&e;"))
    if kind == 1:
        return _files(_with_dtd(f'<!ENTITY % e SYSTEM "{target}"> %e;', "x"))
    if kind == 2:
        return _files(_with_dtd("", "&nowhere;", f'SYSTEM "{target}"'))
    if kind == 3:
        xi = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="{target}"/>'
        return _files(PLAIN.replace(b"Chest", xi.encode()))
    return _files(PLAIN.replace(b"<article ", f'<?xml-stylesheet href="{target}"?><article '.encode()))


def _attribute_entity(rng: random.Random, where: Where) -> dict:
    data = _with_dtd(f'<!ENTITY e "{"g" * 1000}"><!ATTLIST fig id CDATA "&e;">', "x")
    return _files(data.replace(b'rid="F1"', b'rid="&e;&e;&lt;"'))


ENCODINGS = [
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "cp037",
    "latin-1",
    "cp1252",
    "shift_jis",
    "gb18030",
    "utf-7",
    "koi8-r",
    "iso2022_jp",
    "euc-kr",
    "big5",
    "mac-roman",
    "cp500",
]


def _encoding(rng: random.Random, where: Where) -> dict:
    declared = rng.choice([*ENCODINGS, "x-nope", "", "UTF-8", "' onclick", "utf-16"])
    text = PLAIN.decode().replace('encoding="UTF-8"', f'encoding="{declared}"')
    real = rng.choice(ENCODINGS)
    return _files(rng.choice([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\n\n"]) + text.encode(real, "xmlcharrefreplace"))


def _characters(rng: random.Random, where: Where) -> dict:
    odd = [
        b"\0",
        b"\x01",
        b"\xff",
        b"\xed\xa0\x80",
        b"&#0;",
        b"&#xD800;",
        b"&#x10FFFF;",
        b"&#xFFFE;",
        b"\xc0\x80",
        b"]]>",
        b"&bogus;",
        b"&;",
        b"&#99999999999;",
        "\u202e".encode(),
        "\ufeff".encode(),
        "e\u0301".encode() * 1000,
    ]
    word = rng.choice([b"Chest", b"Part", b"F1", b"Figure", b"CC", b"article-id", b"2019", b"77", b"A title"])
    return _files(PLAIN.replace(word, rng.choice(odd) * rng.choice([1, 7])))


def _deep(rng: random.Random) -> bytes:
    tag = rng.choice(
        ["sec", "p", "fig", "sup", "italic", "fig-group", "xref", "list", "article", "table", "sub-article"]
    )
    depth = rng.choice([100, 200, 250, 1000, 200_000])
    return jats(f"<{tag}>" * depth + fig(1) + f"<p>{cite(1)}</p>" + f"</{tag}>" * depth)


def _huge(rng: random.Random) -> bytes:
    size = rng.choice([1_000_000, 11_000_000, 30_000_000])
    what = rng.randrange(7)
    if what == 0:
        return PLAIN.replace(b'id="F1"', b'id="' + b"F" * size + b'"')
    if what == 1:
        return PLAIN.replace(b"<body", b"<body " + b" ".join(b'a%d="1"' % n for n in range(size // 50)))
    if what == 2:
        return PLAIN.replace(b"Chest", b"<!--" + b"x" * size + b"-->")
    if what == 3:
        return PLAIN.replace(b"Chest", b"<![CDATA[" + b"x " * (size // 2) + b"]]>")
    if what == 4:
        return PLAIN.replace(b"Chest", b"<?x " + b"x" * size + b"?>")
    if what == 5:
        return PLAIN.replace(b"<body>", b"<body>" + b"<table><tr><td>1</td></tr></table>" * (size // 40))
    return PLAIN + b" " * size + b"<!-- -->"


def _many_figures(rng: random.Random) -> bytes:
    n = rng.choice([500, 3000])
    ids = " ".join(f"F{k}" for k in range(n))
    figures = "".join(fig(k, "x") for k in range(n))
    how = rng.randrange(6)
    if how == 0:  # one sentence that cites all
        return jats(f"<p>{''.join(cite(k) for k in range(n))}</p>{figures}")
    if how == 1:  # many that cite all
        return jats(f'<p>{f"""Seen <xref ref-type="fig" rid="{ids}">all</xref>. It """ * n}</p>'[:20_000_000] + figures)
    if how == 2:  # ranges over all
        return jats(f"<p>{f'Figs {cite(1)}-{n - 1}. The ' * n}</p>{figures}")
    if how == 3:  # one id for all
        return jats(f"<p>{cite(1) * n}</p>{fig(1, 'x') * n}")
    if how == 4:  # one group's caption for all
        return jats(f"<fig-group><caption><p>{'word ' * 20_000}</p></caption>{figures}</fig-group>")
    return jats(f"<p>{'word ' * 200_000}{''.join(cite(k) for k in range(n))}</p>{figures}")  # a long sentence for all


def _many_articles(rng: random.Random) -> bytes:
    n = rng.choice([100, 2000])
    inside = jats(fig(1)).split(b"?>", 1)[1]
    if rng.random() < 0.5:
        return b"<articles>" + inside * n + b"</articles>"
    return jats(fig(1) + f"<sub-article>{fig(2)}<p>{cite(2)}</p></sub-article>" * n)


def _ranges(rng: random.Random) -> bytes:
    text = rng.choice(
        [
            "Figs 1-999999999",
            "Figs 1–99999999999999999999999999",
            "Figs 3-1",
            "Figs 1-1-1-1-1-1" * 1000,
            "Figs 0-0",
            "Figs -1--5",
            "Figs ١-٣",
            "Figs ²-³",
            "Figs 1 to 3 to 5 to 9999999 " * 500,
        ]
    )
    return PLAIN.replace(b"See Figs", f"See {cite(1, text)} {cite(1)}{text[4:]} {text}".encode())


# Pieces that make a careless regular expression or splitter take time that grows with the square of the length.
POISONS = [
    "10.1000",
    "10.10/",
    "10.1234/a.",
    "(",
    ")",
    "a) ",
    "(a), ",
    "[1,2,",
    "[1] ",
    "Fig. ",
    "Figs 1-",
    "1-2-",
    "A. ",
    ". ",
    "...",
    "e.g. ",
    " ",
    "\u00a0",
    "e\u0301",
    "‐",
    "CC BY ",
    "creativecommons.org/licenses/by/",
    "http://",
    "the ",
    "A",
    "1",
    "1.",
    "PMC",
    "X-ray ",
    "and ",
    "Panel ",
    "left panel, ",
    "s ",
    "?",
    "'",
    "“",
    ".1-",
    "U.S. ",
    "a.b",
    "/",
    "..",
    "%",
    "&lt;",
    "<b/>",
    "<sup>1</sup>",
    "10<sup>-3</sup>",
    "not ",
    "creative commons attribution ",
    "4.0 ",
    "(Fig. 1",
    "noncommercial ",
    "MRI CT ",
    "xray,",
    "A-",
    "retract",
    "20",
    "2019 ",
    "-",
    ", ",
    "#",
    "?\n",
    "\t",
    "(A-",
    "[",
]
PLACES = {
    "title": "A title",
    "journal": "J Test",
    "caption": "Chest <bold>X-ray</bold>",
    "body": "As ",
    "label": "Figure 1",
    "licence": "Open.",
    "href": "https://creativecommons.org/licenses/by/4.0/",
    "doi": "88",
    "graphic": "g1",
    "id": "F1",
    "year": "2019",
    "type": "case-report",
}


def _poison(rng: random.Random) -> bytes:
    """One piece over and over, in one place."""
    piece, place = rng.choice(POISONS), rng.choice(list(PLACES))
    text = piece * (rng.choice([20_000, 400_000]) // len(piece))
    if place in ("href", "graphic", "id", "type"):
        text = text.replace("<", "&lt;")
    head = rng.choice(["", "10.1234", "Fig. 1 ", "CC BY ", "creative commons "])
    tail = rng.choice(["", "!", "x", "\n", " 1"])
    data = PLAIN.decode().replace('pub-id-type="pmid"', 'pub-id-type="doi"') if place == "doi" else PLAIN.decode()
    return data.replace(PLACES[place], head + text + tail).encode()


def _empty(rng: random.Random) -> bytes:
    return rng.choice(
        [
            b"",
            b" ",
            b"\0",
            b"<",
            b"<a",
            b"<a/>",
            b"<article/>",
            b"<article></article>",
            b"<?xml?>",
            b"not xml",
            b"%PDF-1.7",
            b"\x1f\x8b",
            b"<!DOCTYPE article>",
            b"<!DOCTYPE article [",
            b"<html><body/></html>",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"<article><body><fig/></body></article>",
            b"<fig/>",
            b"<article xmlns='x'/>",
            b"\xff\xfe<\0a\0",
            b"<!--",
            b"]]>",
            b"<article><front><article-meta/></front></article>",
            b"<a:article/>",
            b"{}",
            b"<article\n" * 1000,
        ]
    )


def _namespaces(rng: random.Random) -> bytes:
    tag = rng.choice(["j:", "x", "xml:", "xmlns:", ""])
    data = PLAIN.replace(b"<article ", b'<article xmlns:j="urn:j" xmlns="urn:d" xmlns:x="" ').decode()
    return re.sub(r"(</?)(?=(?:fig|xref|p|graphic)\b)", rf"\1{tag}", data).encode()


def _attributes(rng: random.Random) -> bytes:
    """Attributes with anything in them."""
    junk = rng.choice(
        [
            "",
            " ",
            "../../../etc/passwd",
            "/etc/passwd",
            "C:\\x",
            "g1.jpg?x",
            "%00",
            "%2e%2e%2fg1",
            "a/b/c",
            "//x",
            "data:image/png;base64,AAAA",
            "file:///etc/passwd",
            "g1&#10;",
            "x" * 5000,
            "%",
            "%zz",
            "http://[::1",
            ".",
        ]
    )
    name = rng.choice(
        ["xlink:href", "id", "rid", "ref-type", "pub-id-type", "article-type", "xml:lang", "specific-use"]
    )
    data = PLAIN.replace(b'ref-type="fig"', b'ref-type="fig" xml:lang="en" specific-use="a"').decode()
    return re.sub(rf'\b{name}="[^"]*"', lambda _: f'{name}="{junk}"', data).encode()


def _licences(rng: random.Random) -> bytes:
    many = LICENCE * rng.choice([1, 2000])
    return jats(BODY, permissions=many + f"<copyright-statement>{'© ' * 1000}</copyright-statement>")


_BENT = {"flip": flip, "cut": cut, "splice": splice, "swap tags": _swap, "rename": _rename}
_TEXTS = {
    "deep": _deep,
    "huge": _huge,
    "many figures": _many_figures,
    "many articles": _many_articles,
    "ranges": _ranges,
    "poison": _poison,
    "poison 2": _poison,
    "poison 3": _poison,
    "poison 4": _poison,
    "poison 5": _poison,
    "empty": _empty,
    "namespaces": _namespaces,
    "attributes": _attributes,
    "licences": _licences,
}
MAKERS = (
    {f"xml {name}": _bent(bend) for name, bend in _BENT.items()}
    | {f"xml {name}": _text(make) for name, make in _TEXTS.items()}
    | {
        "xml laughs": _laughs,
        "xml quadratic entity": _quadratic,
        "xml external": _external,
        "xml attribute entity": _attribute_entity,
        "xml encoding": _encoding,
        "xml characters": _characters,
    }
)
