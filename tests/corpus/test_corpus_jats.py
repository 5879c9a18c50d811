from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import cite, fig, jats

from llavamed.corpus.jats import parse
from llavamed.corpus.problem import Problem


def only(data):
    (article,) = parse(data)
    return article


def mentions(body, **options):
    return [figure.in_text_mention for figure in only(jats(body, **options)).figures]


def test_article_facts():
    article = only(jats(fig(1), ids="pmc:77,pmid:88,doi:10.1000/x.1", attributes='xml:lang="EN-us"'))
    assert (article.pmcid, article.pmid, article.doi) == ("PMC77", "88", "10.1000/x.1")
    assert (article.title, article.journal, article.publisher) == ("A title", "J Test", "P Test")
    assert (article.year, article.language, article.article_type) == (2019, "en", "case-report")
    assert (article.licence, article.licence_url) == ("CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/")
    assert not article.retracted
    assert article.version is None
    assert only(jats(ids="pmcid:PMC77,pmc-ver:PMC77.2")).version == "2"


def test_language_defaults_to_the_dtds():
    assert only(jats()).language == "en"
    assert only(jats(attributes='xml:lang=""')).language == "und"


@pytest.mark.parametrize("kind", ["retraction", "retracted-article"])
def test_retraction(kind):
    assert only(jats().replace(b"case-report", kind.encode())).retracted
    link = b'<related-article related-article-type="retraction-forward"/></article-meta>'
    assert only(jats().replace(b"</article-meta>", link)).retracted
    assert only(jats().replace(b">A title", b">RETRACTED: A title")).retracted


@pytest.mark.parametrize(
    ("title", "retracted"),
    [
        ("[Retracted] A title", True),
        ("Retraction notice to a title", True),
        ("A title (Retracted article)", True),
        ("Retraction pockets of the ear drum", False),
        ("Retraction-free surgery", False),
        ("Retracted tympanic membranes in children", False),
    ],
)
def test_retraction_by_title(title, retracted):
    assert only(jats().replace(b">A title", f">{title}".encode())).retracted is retracted


def test_journal_by_what_is_stated():
    title = b"<journal-title-group><journal-title>J Test</journal-title></journal-title-group>"
    for stated in (
        b"<abbrev-journal-title>J T</abbrev-journal-title>",
        b'<journal-id journal-id-type="nlm-ta">J T</journal-id>',
    ):
        assert only(jats().replace(title, stated)).journal == "J T"


def test_dates_within_a_string():
    date = b"<string-date><month>Apr</month> <year>2012</year></string-date>"
    assert only(jats().replace(b"<year>2019</year>", date)).published == "2012-04"


def test_licence_reference_without_a_licence():
    reference = '<ali:license_ref xmlns:ali="urn:ali">https://creativecommons.org/licenses/by/4.0/</ali:license_ref>'
    assert only(jats(permissions=reference)).licence == "CC-BY-4.0"


def test_figure():
    (figure,) = only(jats(fig(3, "Chest   <b>X-ray</b> of\n10<sup>6</sup>.", "Fig. 3", "a%20b.JPG"))).figures
    assert (figure.fig_id, figure.fig_label, figure.fig_caption) == ("F3", "Fig. 3", "Chest X-ray of 10^6.")
    assert figure.graphics == [["a%20b.JPG"]]


def test_ids_are_made_and_made_unique():
    body = "<fig><label>1</label></fig>" + fig(1) + fig(1) + "<fig/>" + '<fig id="F1-2"/>'
    ids = [figure.fig_id for figure in only(jats(body)).figures]
    assert ids == ["fig1", "F1", "F1-2", "fig4", "F1-2-2"]


def test_groups_alternatives_and_floats():
    group = (
        '<fig-group id="G1"><label>Figure 9</label><caption><p>Both.</p></caption>'
        '<fig id="A"><caption><p>Left.</p></caption><alternatives><graphic xlink:href="t" specific-use="thumbnail"/>'
        '<graphic xlink:href="full"/></alternatives></fig><fig id="B"><label>B</label></fig></fig-group>'
    )
    article = only(jats('<p>Seen (<xref ref-type="fig" rid="G1">Fig. 9</xref>).</p>', floats=group))
    a, b = article.figures
    assert (a.fig_label, a.fig_caption, a.graphics) == ("Figure 9", "Both. Left.", [["full", "t"]])
    assert (b.fig_label, b.fig_caption) == ("B", "Both.")
    assert a.in_text_mention == b.in_text_mention == ["Seen (Fig. 9)."]


def test_symbols_are_no_images():
    body = (
        '<fig id="F1"><caption><p>An <inline-graphic xlink:href="s"/> <graphic xlink:href="c"/></p></caption>'
        '<disp-formula><graphic xlink:href="f"/></disp-formula><fig id="F2"><graphic xlink:href="inner"/></fig></fig>'
    )
    outer, inner = only(jats(body)).figures
    assert outer.graphics == []
    assert inner.graphics == [["inner"]]


def test_own_copyright_is_not_the_articles_licence():
    own = fig(1).replace(
        "<label>", "<permissions><copyright-statement>(c) Them</copyright-statement></permissions><label>"
    )
    other = fig(2).replace(
        "<label>",
        '<permissions><license xlink:href="http://creativecommons.org/licenses/by-nc/3.0"/></permissions><label>',
    )
    codes = [figure.licence for figure in only(jats(own + other + fig(3))).figures]
    assert codes == ["other", "CC-BY-NC-3.0", "CC-BY-4.0"]


def test_mentions_everywhere():
    body = (
        f"<sec><title>Case of {cite(1)}</title><p>First. It was seen ({cite(1)}, {cite(2)}). Last.</p>"
        f"<list><list-item><p>In a list {cite(1)}.</p></list-item></list>"
        f"<table-wrap><table><tr><td>In a cell {cite(1)}</td><td>Not.</td></tr></table></table-wrap>"
        f"<boxed-text><p>In a box {cite(1)}.</p></boxed-text></sec>" + fig(1) + fig(2, f"As {cite(1)}. But not.")
    )
    first, second = mentions(body)
    assert first == [
        "Case of Fig. 1",
        "It was seen (Fig. 1, Fig. 2).",
        "In a list Fig. 1.",
        "In a cell Fig. 1",
        "In a box Fig. 1.",
        "As Fig. 1.",
    ]
    assert second == ["It was seen (Fig. 1, Fig. 2)."]


def test_figure_inside_its_paragraph_does_not_break_it():
    assert mentions(f"<p>It was {fig(1)} seen ({cite(1)}).</p>") == [["It was seen (Fig. 1)."]]


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        (f"{cite(2, 'Figs 2')}–{cite(4, '4')}", [2, 3, 4]),
        (f"{cite(2, 'Figures 2')} to {cite(4, '4')}", [2, 3, 4]),
        (f"{cite(2, 'Figs. 2A')}-{cite(4, '4B')}", [2, 3, 4]),
        (f"{cite(2, 'Fig. 2')} through {cite(5, 'Fig. 5')}", [2, 3, 4, 5]),
        (f"{cite(2, 'Figs. 2–4')}", [2, 3, 4]),
        (f"Figs. 2–{cite(4, '4')}", [2, 3, 4]),
        (f"{cite(2, 'Figs. 2')}–4", [2, 3, 4]),
        (f"{cite('1 F2', 'Figs. 1 and 2')}", [1, 2]),
        (f"{cite(1)}, {cite(3, '3')}-{cite(5, '5')}", [1, 3, 4, 5]),
        (f"{cite(2, 'Figs. 2(a)')}–{cite(4, '4(c)')}", [2, 3, 4]),
        (f"{cite(2, 'Figs. 2')}—{cite(4, '4')}", [2, 3, 4]),
        ("Figs. 2(a), 3(b) and 5", [2, 3, 5]),
        ("Fig. 2 of this paper, not in Fig. 3 of that paper", [2]),
        (f"{cite(2, 'Fig. 2')} to 4 mm", [2]),
        (f"{cite(2, 'Fig. 2A–C')}, {cite(4)}", [2, 4]),
        (f"{cite(1, 'Fig. 1B1–1B4')}", [1]),
        (f"{cite(2)} and {cite(4)}", [2, 4]),
    ],
)
def test_ranges(text, reached):
    found = mentions(f"<p>Seen in {text} here.</p>" + "".join(fig(n) for n in range(1, 7)))
    assert [n for n, sentences in enumerate(found, start=1) if sentences] == reached


def test_range_without_labels_goes_by_place_and_stays_in_its_series():
    text = f"<p>{cite(1, 'Figs 1')}–{cite(3, '3')}.</p>"
    assert all(mentions(text + "".join(fig(n, label="") for n in (1, 2, 3))))
    found = mentions(text + fig(1) + fig(9, label="Figure 1—figure supplement 2") + fig(2) + fig(3))
    assert [bool(m) for m in found] == [True, False, True, True]


def test_entities_encodings_and_namespaces():
    doctype = '<!DOCTYPE article PUBLIC "-//NLM//DTD X//EN" "http://example.org/x.dtd">'
    plain = jats(fig(1, "5 &minus; 3 &times; α &agr; &THgr; &b.beta;")).decode()
    expected = "5 − 3 × α α Θ β"
    for text in (plain, plain.replace("?><", f"?>{doctype}<", 1)):
        assert only(text.encode()).figures[0].fig_caption == expected
    for codec in ("utf-16", "utf-16-le", "utf-16-be"):
        assert only(plain.replace("UTF-8", "UTF-16", 1).encode(codec)).figures[0].fig_caption == expected
    latin = plain.replace("UTF-8", "ISO-8859-1", 1).replace("α", "é").encode("latin-1")
    assert only(latin).figures[0].fig_caption == expected.replace("× α", "× é")
    named = plain.replace("<article ", '<article xmlns="urn:jats" ')
    assert only(named.encode()).figures[0].fig_caption == expected


def test_comments_and_instructions_are_no_text():
    assert only(jats(fig(1, "A<!-- no -->B<?no no?>C"))).figures[0].fig_caption == "ABC"


def test_a_set_of_articles():
    first, second = jats(fig(1)), jats(fig(1) + fig(2), ids="pmc:5")
    wrapped = b"<set>" + first.split(b"?>")[1] + second.split(b"?>")[1] + b"</set>"
    assert [(a.pmcid, len(a.figures)) for a in parse(wrapped)] == [("PMC77", 1), ("PMC5", 2)]


BOMB = '<!DOCTYPE a [<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"  \n", "empty_file"),
        (b"%PDF-1.4", "not_xml"),
        (b"<article><front></article>", "not_xml"),
        (b"<html><body>Hello</body></html>", "not_jats"),
        (b"<article>" + b"<sec>" * 5000 + b"</sec>" * 5000 + b"</article>", "not_xml"),
        (f'{BOMB}]><article x="&a11;"/>'.encode(), "not_xml"),
        ('<?xml version="1.0" encoding="UTF-8"?><article>é</article>'.encode("latin-1"), "not_xml"),
        (b'<?xml version="1.0" encoding="no-such"?><article/>', "not_xml"),
    ],
)
def test_refused(data, reason):
    with pytest.raises(Problem) as caught:
        parse(data)
    assert caught.value.reason == reason


def test_entities_are_not_expanded_and_files_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    subset = f'<!DOCTYPE a [<!ENTITY own "own"><!ENTITY file SYSTEM "{secret.as_uri()}">]>'
    data = jats(fig(1, "one &own; two &file; three")).decode().replace("?>", "?>" + subset, 1)
    caption = only(data.encode()).figures[0].fig_caption
    assert caption == "one &own; two &file; three"


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 40))
def test_broken_bytes_never_raise_anything_else(noise, place, cut):
    data = jats(fig(1) + f"<p>{cite(1)}</p>")
    data = data[:place] + noise + data[place + cut :]
    with suppress(Problem):
        parse(data)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["F1", "F2", "F3", "G", "", "F1 F3", "nowhere"]), max_size=8), st.randoms())
def test_every_citation_is_found(rids, random):
    marks = [f'<xref ref-type="fig" rid="{rid}">cite{i}</xref>' for i, rid in enumerate(rids)]
    body = "".join(f"<p>Words before. It is {mark} here. After.</p>" for mark in marks)
    parts = [body, fig(1), fig(2), fig(3)]
    random.shuffle(parts)
    found = {f.fig_id: f.in_text_mention for f in only(jats("".join(parts))).figures}
    for name, sentences in found.items():
        assert sentences == [f"It is cite{i} here." for i, rid in enumerate(rids) if name in rid.split()]


META = (
    "<article-categories><subj-group><subject>Heart</subject><subj-group><subject>Valve</subject>"
    "<subject>Heart</subject></subj-group></subj-group></article-categories>"
)


def with_meta(xml, **options):
    return jats(**options).replace(b"<title-group>", f"{xml}<title-group>".encode(), 1)


@pytest.mark.parametrize(
    ("dates", "published"),
    [
        ('<pub-date pub-type="epub"><day>7</day><month>3</month><year>2018</year></pub-date>', "2018-03-07"),
        ('<pub-date date-type="pub"><month>Mar</month><year>2018</year></pub-date>', "2018-03"),
        ('<pub-date pub-type="collection"><season>Spring</season><year>2018</year></pub-date>', "2018"),
        ('<pub-date iso-8601-date="2018-12-31"/>', "2018-12-31"),
        ('<pub-date pub-type="ppub"><month>6</month><year>2019</year></pub-date>', "2019-06"),
        ('<pub-date pub-type="pmc-release"><year>2001</year></pub-date>', "2019"),
        ('<pub-date pub-type="epub"><day>40</day><month>13</month><year>2018</year></pub-date>', "2018"),
    ],
)
def test_earliest_date_as_precise_as_stated(dates, published):
    article = only(with_meta(dates))
    assert (article.published, article.year) == (published, int(published[:4]))


def test_subjects_and_hosts():
    links = "".join(f'<self-uri xlink:href="{to}"/>' for to in ("https://WWW.Example.org:80/a", "a.pdf", "//["))
    article = only(with_meta(META + links))
    assert article.subjects == ["Heart", "Valve"]
    assert article.hosts == ["www.example.org"]


def test_notices():
    links = (
        '<related-article related-article-type="retraction-forward" xlink:href="https://doi.org/10.1371/x.1"/>'
        '<related-article related-article-type="companion" xlink:href="10.1371/y"/>'
        '<related-article related-article-type="object-of-concern" ext-link-type="pmc">PMC5</related-article>'
    )
    assert only(with_meta(links)).notices == ["retraction-forward 10.1371/x.1", "object-of-concern PMC5"]
    data = with_meta("", ids="doi:10.1/x").replace(b"case-report", b"correction").replace(b"10.1/x", b"10.1000/x")
    assert only(data).notices == ["correction 10.1000/x"]


@pytest.mark.parametrize(
    ("inside", "graphics"),
    [
        ('<graphic xlink:href="g2a"/><graphic xlink:href="g2b"/>', [["g2a"], ["g2b"]]),
        ('<graphic xlink:href="g.gif"/><graphic xlink:href="g.tif"/>', [["g.tif", "g.gif"]]),
        ('<graphic xlink:href="g1"/><graphic xlink:href="t" content-type="thumbnail"/>', [["g1", "t"]]),
        (
            '<alternatives><graphic xlink:href="a.jpg"/><graphic xlink:href="b.tif"/></alternatives>',
            [["b.tif", "a.jpg"]],
        ),
        ('<media xlink:href="film.mp4"/>', [["film.mp4"]]),
        ('<media xlink:href="film.mp4"/><graphic xlink:href="g"/>', [["g"]]),
        ('<supplementary-material><media xlink:href="d.xls"/></supplementary-material>', []),
    ],
)
def test_a_list_for_each_image(inside, graphics):
    (figure,) = only(jats(f'<fig id="F1">{inside}</fig>')).figures
    assert figure.graphics == graphics


def test_sub_articles_are_named():
    parts = b'<sub-article article-type="reply"><body>' + fig(8).encode() + b"</body></sub-article>"
    parts += b'<response response-type="comment"><body>' + fig(9).encode() + b"</body></response>"
    article = only(jats(fig(1)).replace(b"</article>", parts + b"</article>"))
    assert [figure.sub_article for figure in article.figures] == [None, "reply", "comment"]


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        ("see Figure 3", [3]),
        ("see (Fig. 3B)", [3]),
        ("FIG. 3 shows", [3]),
        ("supported by Figure 3", [3]),
        ("in Supp. Fig. 3", []),
        ("in Figs 2 and 4", [2, 4]),
        ("in Figures 2, 3 and 5", [2, 3, 5]),
        ("in figs. 2-4", [2, 3, 4]),
        ("in Figures 2 to 4", [2, 3, 4]),
        ("<bold>Fig</bold>. 3 shows", [3]),
        (f"{cite(1, 'Figs 1')} and 3", [1, 3]),
        ("in Fig. 2 and 3 patients", [2]),
        ("in Fig. S3", []),
        ("in Supplementary Figure 3", []),
        ("Additional file 1: Figure 3", []),
        ("in Fig. 3 of ref. [12]", []),
        ("in Figure 3 in Smith et al.", []),
        ("as their Fig. 3", []),
        ("of [12], Fig. 3", []),
        ("in Figure 9", []),
        ("config 3 was set", []),
        ("in Figure 3.5", []),
        ("in Figure 4—figure supplement 1", []),
        ('<xref ref-type="supplementary-material" rid="S1">Figure 3</xref>', []),
    ],
)
def test_citations_without_a_tag(text, reached):
    figures = only(jats(f"<p>It is {text}, it seems.</p>" + "".join(fig(n) for n in range(1, 7)))).figures
    assert [n for n, figure in enumerate(figures, start=1) if figure.in_text_mention] == reached
    sources = {source for figure in figures for source in figure.mention_source}
    assert sources <= {"xref", "text"}


def test_how_each_mention_cites():
    body = f"<p>A {cite(1, 'Figs 1')}–{cite(3, '3')}. Then Figure 2 again.</p>" + fig(1) + fig(2) + fig(3)
    sources = [figure.mention_source for figure in only(jats(body)).figures]
    assert sources == [["xref"], ["range", "text"], ["xref"]]


def test_supplementary_figures_that_exist():
    body = "<p>See Fig. S1. See Supplementary Figure 2. See Figure 1.</p>"
    body += fig(1, label="Figure S1") + fig(2, label="Supplementary Figure 2") + fig(3, label="Figure 1")
    assert mentions(body) == [["See Fig. S1."], ["See Supplementary Figure 2."], ["See Figure 1."]]


def test_ambiguous_or_own_numbers_are_no_citations():
    assert mentions("<p>See Figure 1.</p>" + fig(1) + fig(2, label="Figure 1")) == [[], []]
    assert mentions(fig(1, "Figure 1 shows it.")) == [[]]
    assert mentions(fig(1) + fig(2, "As Figure 1 shows.")) == [["As Figure 1 shows."], []]


def test_an_article_without_labels_or_tags():
    plain = '<fig id="Ch.F{0}"><caption><p>A.</p></caption></fig>'
    assert mentions("<p>It is (Fig. 2).</p>" + plain.format(1) + plain.format(2)) == [[], ["It is (Fig. 2)."]]
    assert mentions("<p>It is (Fig. 2).</p>" + plain.format(7) + plain.format(8)) == [[], []]


LISTS = [
    "<ref-list><ref>{0}</ref></ref-list>",
    "<table-wrap><table><tr><td>{0}</td></tr></table></table-wrap>",
    "<ref-list><ref-list>{0}</ref-list></ref-list>",
    "<!-- <ref-list> --><p>{0}</p><ref-list/>",
    "<!-- <table> --><p>{0}</p><table></table>",
    "<ref-list><!-- </ref-list> --><p>{0}</p></ref-list>",
    "<p><![CDATA[<table>]]>{0}</p><table></table>",
    "<cut-out/><p>{0}</p><ref-list><ref/></ref-list>",
]


@pytest.mark.parametrize("around", LISTS)
def test_what_is_not_parsed_hides_nothing(around):
    cited = '<xref rid="F1">Chart</xref> here'
    body = around.format(cited) + fig(1) + around.format(fig(2)) + "<p>Last.</p>" + fig(3)
    first, second, third = only(jats(body)).figures
    assert [mention.split("]]>")[-1].removeprefix("<table>") for mention in first.in_text_mention] == ["Chart here"]
    assert (second.fig_id, third.fig_id) == ("F2", "F3")


def test_no_sentence_ends_within_a_citation():
    assert mentions(f"<p>It is {cite(1, 'Fig. 9. B')} here. Next.</p>" + fig(1)) == [["It is Fig. 9. B here."]]


@pytest.mark.parametrize(
    "body",
    [
        "<p>" + "<fig>" * 240 + "<b/>" * 200_000 + "</fig>" * 240 + "</p>",
        "<p>" + cite(1) * 40_000 + "</p>" + fig(1) * 3_000,
        "<p>" + "Fig. 1. " * 200_000 + "</p>" + fig(1),
        "<p>" + "Figs 1-" * 200_000 + f"{cite(1)}</p>" + fig(1),
        "<fig-group id='G'><caption>" + "a " * 500_000 + "</caption>" + fig(1) * 10_000 + "</fig-group>",
        "<ref-list>" * 200_000,
        '<article-id pub-id-type="doi">' + "10.123" * 300_000 + "</article-id>",
    ],
    ids=["nested", "same id", "plain", "ranges", "group", "lists", "doi"],
)
def test_large_and_hostile(body):
    """What takes quadratic time would take minutes."""
    with suppress(Problem):
        parse(jats(body))


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["–", "-", " to ", " through "]), st.booleans())
def test_ranges_reach_all_between(first, last, joint, tagged):
    ends = (cite(first, str(first)), cite(last, str(last))) if tagged else (first, last)
    figures = only(jats(f"<p>In Figs {ends[0]}{joint}{ends[1]} it is.</p>" + "".join(map(fig, range(1, 10))))).figures
    reached = {n for n, figure in enumerate(figures, start=1) if figure.in_text_mention}
    assert reached == (set(range(first, last + 1)) | {first, last} if first <= last else {first, last})
