"""What holds for every page: nothing is run, nothing is asked of another place."""

from lxml import html

TAGS = (
    "html head meta title link style body header nav main section footer h1 h2 h3 h4 h5 h6 p a ul ol li div figure "
    "figcaption img table caption thead tbody tr th td details summary span dl dt dd code em strong "
    "svg line polyline text rect path"
)
ALLOWED = set(TAGS.split())
PREFIXES = {"src": "data:image/jpeg;base64,", "href": ("#", "data:,")}


def check_safe(page: str) -> None:
    tree = html.document_fromstring(page)
    for element in tree.iter():
        assert element.tag in ALLOWED, element.tag
        for name, value in element.items():
            assert not name.startswith("on") and name not in ("style", "action", "srcset"), name
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(PREFIXES[name]), value
    assert "url(" not in page.partition("</style>")[0] and "@import" not in page.partition("</style>")[0]
    assert "default-src 'none'" in page
