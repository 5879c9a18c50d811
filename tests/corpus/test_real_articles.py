"""The reader against a count of its own over plain lxml, on 1,000 real articles."""

import tarfile
from collections import Counter

import pytest
from lxml import etree

from llavamed.corpus.jats import parse

# Why a citation may be in no mention. "no_text": the tag is empty, and nothing stands beside it.
REASONS = ("no_text",)
MARKS = str.maketrans("", "", "^[]")  # what the reader adds to raised numbers


def plain_tree(data):
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, remove_comments=True)
    return etree.fromstring(data, parser)


def squeezed(text):
    return "".join(text.split()).translate(MARKS)


def beside(xref):
    """(the word before, the text of the citation, the word after), as far as they stand in the same element."""
    sibling = xref.getprevious()
    before = (xref.getparent().text if sibling is None else sibling.tail) or ""
    after = xref.tail or ""
    last = before.split()[-1] if before.split() else ""
    first = after.split()[0] if after.split() else ""
    return squeezed(last), squeezed("".join(xref.itertext())), squeezed(first)


def missing(xref, mentions):
    """Why no mention holds the citation and the words beside it, None if one does."""
    before, own, after = beside(xref)
    for mention in mentions:
        if before + own + after in mention or mention.startswith(own + after) or mention.endswith(before + own):
            return None
    return "no_text" if not own else "lost"


def check(files):
    """Figures and citations counted without the reader, and what the reader lost of them."""
    counts = Counter()
    for name, data in files:
        root = plain_tree(data)
        ids = [figure.get("id") for figure in root.xpath("//*[local-name()='fig']")]
        (article,) = parse(data)
        assert len(article.figures) == len(ids), name
        counts["figures"] += len(ids)
        mentions = {}
        for name_, figure in zip(ids, article.figures, strict=True):
            assert len(figure.in_text_mention) == len(figure.mention_source)
            mentions.setdefault(name_, [squeezed(sentence) for sentence in figure.in_text_mention])
        for xref in root.xpath("//*[local-name()='xref']"):
            cited = [rid for rid in xref.get("rid", "").split() if rid in mentions]
            counts["citations"] += bool(cited)
            for rid in cited:
                if reason := missing(xref, mentions[rid]):
                    counts[reason] += 1
                    if reason not in REASONS:
                        print(name, rid, beside(xref))
    return counts


@pytest.fixture(scope="module")
def files(data):
    with tarfile.open(data / "articles_xml.tar.xz") as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar if member.isfile()]


def test_nothing_lost_of_every_tenth(files):
    counts = check(files[::10])
    print(dict(counts))
    assert counts["figures"] > 400 and counts["lost"] == 0


@pytest.mark.slow
def test_nothing_lost(files):
    counts = check(files)
    print(dict(counts))
    assert counts["figures"] == 5294
    assert counts["citations"] > 16_700
    assert counts["lost"] == 0
    assert sum(counts[reason] for reason in REASONS) < 0.005 * counts["citations"]
