"""Pages: safe, self-contained, the same every time."""

import base64
import hashlib
import io
import re
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html
from markupsafe import Markup
from PIL import Image

from llavamed import pages
from llavamed.markdown import markdown
from page_checks import ALLOWED, check_safe

HOSTILE = "</p><script>alert(1)</script><img src=x onerror='alert(2)'> \"quoted\" {{ 7*7 }} & <b>bold</b>"


def picture(mode: str = "RGB", size: tuple[int, int] = (640, 400), kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, kind)
    return out.getvalue()


def everything(words: str) -> str:
    card = pages.Card(picture(), words, [(words, words * 9)], [words, "right"], alt=words, lang=words)
    parts = [
        pages.text(words),
        pages.note(words),
        pages.heading(words),
        pages.table(words, [words, "n"], [(words, 1234)], numeric=(1,)),
        pages.row(pages.bars(words, {words: 3, "b": 1}, words), pages.stack(pages.bars(words, {}))),
        pages.lines(words, {words: [(1, 2.0), (2, 1.0)], "b": [(1, 1.0)]}, words, words),
        pages.intervals(words, {words: {words: [50.0, 40.0, 61.25], "b": None}}, words),
        pages.gallery([card]),
        markdown(f"# {words}\n\n- {words}\n\n{words} **{words}** `{words}`\n\n| {words} |\n| --- |\n| {words} |"),
    ]
    return pages.page(words, [(words, parts), ("b", []), ("c", [])], words)


def test_hostile_text_is_shown_as_text():
    page = everything(HOSTILE)
    check_safe(page)
    assert page.count("{{ 7*7 }}") > 10
    assert "alert(1)" in html.fromstring(page).text_content()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_any_text_is_escaped(words: str):
    check_safe(everything(words))


def test_the_policy_names_the_style():
    page = pages.page("A", [])
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in page


def test_same_arguments_same_bytes():
    assert everything("a") == everything("a")


def test_headings_in_order_and_tables_labelled():
    tree = html.fromstring(everything("a"))
    levels = [int(e.tag[1]) for e in tree.iter("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1 and all(b <= a + 1 for a, b in pairwise(levels))
    assert tree.get("lang") == "en"
    assert all(e.get("scope") in ("col", "row", "rowgroup") for e in tree.iter("th"))
    assert all(e.get("alt") for e in tree.iter("img"))
    assert [a.get("href") for a in tree.iter("a")] == ["#main", "#s1", "#s2", "#s3"]


def test_bars_keep_order_and_shares():
    tree = html.fragment_fromstring(pages.bars("Years", {"2020": 1, "2019": 3}, "year"))
    rows = [[cell.text_content() for cell in row][:3] for row in tree.find("tbody")]
    assert rows == [["2020", "1", "25 %"], ["2019", "3", "75 %"]]
    assert [e.get("width") for e in tree.iter("rect")] == ["33.33%", "100%"]


@pytest.mark.parametrize(("share", "words"), [(0, "0 %"), (0.0001, "<0.1 %"), (0.012, "1.2 %"), (1, "100 %")])
def test_a_small_share_is_not_nothing(share: float, words: str):
    assert pages.per_cent(share) == words


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(1e-4, 1e6))
def test_ticks_are_round_and_hold_the_range(low: float, width: float):
    ticks = pages._ticks(low, low + width)
    assert 2 <= len(ticks) <= 8
    span = ticks[-1] - ticks[0]
    assert ticks[0] <= low + 1e-6 * span and ticks[-1] >= low + width - 1e-6 * span
    assert len(set(pages._labels(ticks))) == len(ticks)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 2e-5, 1e30, -1e300, 5e-324])
def test_one_value_has_an_axis(value: float):
    chart = html.fromstring(pages.lines("Loss", {"a": [(1, value), (2, value)]}, "step", "loss"))
    assert len(chart.xpath("//svg[@class='y-axis']/text")) >= 2
    assert chart.xpath("//polyline")


@pytest.mark.parametrize(
    ("top", "unit", "labels"),
    [
        (2e-5, " (10⁻⁵)", ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        (2e5, " (10⁵)", ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        (2e4, "", ["0", "5,000", "10,000", "15,000", "20,000"]),
        (0.02, "", ["0.000", "0.005", "0.010", "0.015", "0.020"]),
    ],
)
def test_an_axis_counts_small_and_large_numbers_in_powers_of_ten(top: float, unit: str, labels: list[str]):
    chart = html.fromstring(pages.lines("Rate", {"a": [(0, 0.0), (9, top)]}, "step", "rate"))
    assert chart.xpath("//p[@class='y-label']/text()") == [f"rate{unit}"]
    assert chart.xpath("//svg[@class='y-axis']/text/text()") == labels


def test_a_running_mean_stands_at_the_middle_of_its_steps():
    points = [(n, float(n % 4)) for n in range(1, 101)]
    assert pages.with_mean(points)["mean of 4 steps"] == [(n - 1.5, 1.5) for n in range(4, 101)]
    assert list(pages.with_mean(points[:49])) == ["each step"]


def test_only_a_page_that_is_asked_to_loads_itself_anew():
    assert 'http-equiv="refresh"' not in everything("a")
    page = pages.page("A", [], refresh=7)
    check_safe(page)
    assert html.document_fromstring(page).xpath("//meta[@http-equiv='refresh']/@content") == ["7"]


def test_curve_runs_from_corner_to_corner():
    chart = pages.lines("Loss", {"a": [(0, 10.0), (50, float("nan")), (100, 0.0)]}, "step", "loss")
    assert 'points="0,0 1000,1000"' in chart
    assert "nothing to draw" in pages.lines("Loss", {"a": [(1, float("nan"))]}, "step", "loss")


def test_long_curves_are_thinned_to_means():
    points = [(float(n), float(n % 2)) for n in range(10_000)]
    thin = pages._thin(points)
    assert len(thin) == pages.POINTS
    assert all(abs(y - 0.5) < 0.05 for _, y in thin)


def test_intervals_stand_at_their_values():
    chart = pages.intervals(
        "Scores", {"kind": {"model": [75.0, 60.0, 90.0], "neighbour": None}, "none": {"model": None}}
    )
    assert '<line class="whisker" x1="60.0%" x2="90.0%"' in chart
    assert '<svg x="75.0%"' in chart
    assert "neighbour" not in chart and "none" not in chart


@pytest.mark.parametrize(("mode", "kind"), list(product(["L", "RGB", "P", "1"], ["PNG", "GIF"])))
def test_thumbnails_of_every_mode(mode: str, kind: str):
    found = pages.thumbnail(picture(mode, kind=kind))
    assert (found.width, found.height) == (320, 200)


def test_transparent_is_white_and_broken_is_none():
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(clear, "PNG")
    uri = pages.thumbnail(clear.getvalue()).uri
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.getpixel((4, 4)) == (255, 255, 255)
    assert pages.thumbnail(b"no picture") is None
    assert pages.thumbnail(picture()[:60]) is None
    assert "no picture that can be shown" in pages.gallery([pages.Card(b"no picture", "A")])


def test_long_text_is_folded_between_words():
    words = "word " * 100
    shown, rest = pages._fold(words.strip(), 60)
    assert len(shown) <= 60 and f"{shown} {rest}" == words.strip()
    assert pages._fold("short", 60) == ("short", "")
    assert pages._fold("x" * 100, 60) == ("x" * 60, "x" * 40)


def test_colours_can_be_read():
    """WCAG AA: 4.5 for text, 3 for the marks of charts, in the light and in the dark."""
    style = (pages.TEMPLATES / "style.css").read_text()
    schemes = [dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in style.split("prefers-color-scheme: dark")]
    assert schemes[0].keys() == schemes[1].keys() and len(schemes[0]) == 12
    for colours in schemes:
        for ground, ink in product(("paper", "panel"), ("ink", "soft", "link", "good", "bad")):
            assert contrast(colours[ground], colours[ink]) >= 4.5, (ground, ink)
        for mark in ("s1", "s2", "s3", "s4"):
            assert contrast(colours["paper"], colours[mark]) >= 3, mark


def contrast(one: str, two: str) -> float:
    """Contrast ratio of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# A\n\n## B", "<h3>A</h3>\n<h4>B</h4>"),
        ("a\nb *c* **d *e* f**", "<p>a b <em>c</em> <strong>d <em>e</em> f</strong></p>"),
        ("2 * 3 * 4 \\*5\\* `*6*`", "<p>2 * 3 * 4 *5* <code>*6*</code></p>"),
        ("- a\n  more\n\n- b\n  - c\n  - d", "<ul><li>a more</li><li>b<ul><li>c</li><li>d</li></ul></li></ul>"),
        ("1. a\n2. b", "<ol><li>a</li><li>b</li></ol>"),
        ("a &lt;b&gt; <i>", "<p>a &lt;b&gt; &lt;i&gt;</p>"),
        ("", ""),
    ],
)
def test_markdown(text: str, shown: str):
    assert markdown(text) == Markup('<div class="text">{}</div>').format(Markup(shown))


def test_markdown_tables():
    tree = html.fragment_fromstring(markdown("| a | b |\n| --- | ---: |\n| c \\| d | `e` |\n| f |"))
    rows = [[cell.text_content() for cell in row] for row in tree.iter("tr")]
    assert rows == [["a", "b"], ["c | d", "e"], ["f", ""]]


@settings(deadline=None)
@given(st.text(st.sampled_from("ab *`|#-\n\\<&1.") | st.characters(exclude_categories=["Cs", "Cc"]), max_size=120))
def test_markdown_is_safe_and_loses_no_word(text: str):
    tree = html.fragment_fromstring(markdown(text))
    letters = re.sub(r"[^ab]", "", text)
    assert re.sub(r"[^ab]", "", tree.text_content()) == letters
    assert not {e.tag for e in tree.iter()} - (ALLOWED - {"style", "link", "meta", "a", "img"})


def test_templates_are_packaged():
    assert {path.name for path in Path(pages.TEMPLATES).iterdir()} == {
        "page.html", "parts.html", "style.css", "summary.html", "docx",
    }  # fmt: skip
