"""Documents whose every text is hard to render."""

from llavamed.summary.document import Chart, Document, Field, Section, Table
from llavamed.summary.facts import Fact

HOSTILE = (
    "</p><script>alert(1)</script><img src=x onerror='alert(2)'> \"quoted\" {{ 7*7 }} {% if %} & &amp; &lt; <b>bold</b>"
)
ODD = {
    "html": HOSTILE,
    "xml": "]]> <![CDATA[x]]> <!-- c --> <?pi?> &#0; &nbsp; &unknown;",
    "markdown": "**bold** _em_ `code` [link](javascript:alert(1)) ![](x.png) | cell | ~~gone~~ \\* \\",
    "heading": "# Heading\n===\n---\n> quoted",
    "number": "1. one",
    "minus": "- one\n- two **bold**\n  and more\n- three",
    "plus": "+ one",
    "rows": "| a | b |\n| --- | --- |\n| 1 | 2 |",
    "paragraphs": "First.\nGoes on.\n\nSecond.\r\n\r\nThird, with a list:\n- x\n- y",
    "address": "See https://example.org/a_(b)?x=1&y=2#z (and http://example.org/c), or write to lab+data@example.org.",
    "script": "javascript:alert(1) data:text/html,x file:///etc/passwd",
    "right to left": "שלום עולם 12 مرحبا",
    "characters": "日本語 μm ± 5 × 10⁻³ 😀 e\u0301 \u202e",
    "control": "a\x00b\x08c\x1bd\ud800e\ufffff\x0bg",
    "long": "x" * 3000,
    "quotes": "'single' \"double\" `back` “curly”",
}


def document(words: str, form: str = "combined") -> Document:
    """A document in which every text holds `words`."""
    table = Table((words, "n"), ((words, "1"), ("b", words)), words)
    fields = (
        Field("1.1.A", words, "computed", words, (table, Table((words,), ())), (words, "second source")),
        Field("1.1.B", "Stated", "stated", words),
        Field("1.2", "Both", "computed, stated", words, sources=(words,)),
        Field("1.3", "Unknown", "not stated", "Not stated."),
        Field("1.4", "Nothing", "not applicable", "Not applicable: there is none."),
    )
    more = (Field("2.1", words, "stated", f"{words}\n\n{words}"),)
    charts = (
        Chart(words, {words: 3, "b": 1}, words),
        Chart("Years", {str(year): 1 + (year * 7) % 40 for year in range(1980, 2026)}, "by year"),
        Chart("None", {"a": 0}, "by none"),
    )
    return Document(
        form,
        words,
        words,
        words,
        words,
        (Section("1", words, fields), Section("2", "More", more)),
        charts,
        (("0.1", words), ("0.2", "https://example.org/summary-0.2.html"), ("0.3", "summary-0.3.html")),
        (words, "second note"),
        (table,),
    )


def facts(words: str) -> dict[str, Fact]:
    return {"seen.kinds": Fact({words: 1}, words), "collected.sources": Fact([{"package": words}], words)}
