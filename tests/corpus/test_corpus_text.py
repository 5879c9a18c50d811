import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from llavamed.corpus.text import flat, run, sentence_spans, sentences


@pytest.mark.parametrize(
    "text",
    [
        "See Fig. 1 for the mass.",
        "It was seen (Figs. 2 and 3) by Smith et al. (2010) in mice.",
        "Drugs, e.g. aspirin, i.e. Those in Table 1, were given.",
        "It measured 2.5 cm vs. 3.1 cm, p < 0.05.",
        "J. P. Smith and M. Jones read it.",
        "E. coli and S. Typhimurium grew.",
        "Approx. 5 mL of no. 3 were used, cf. Eq. 2.",
        "1. Methods of this work.",
        "As in U.S. Pharmacopeia grade salt.",
        "It fell at antennae–Fig. 2B,C of the set.",
        "Seen in Fig. 2A-Fig. 2C here.",
        "Wie in Abb. 1 und z. B. Abb. 2 gezeigt.",
        "Показано на рис. 1 и далее.",
    ],
)
def test_one_sentence(text):
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A mass was seen (Fig. 1). It was removed.", 2),
        ("Was it large? Yes! It was.", 3),
        ("This was shown by Smith et al. The mass grew.", 2),
        ("He had hepatitis C. The liver was large.", 2),
        ("It grew.[1,2] We waited.", 2),
        ("It grew. [1, 2] We waited. Et al. [3] Smith.", 3),
        ('He said "no." Then he left.', 2),
        ("It was given at 5 p.m. The patient slept.", 2),
        ("In 2010. 12 patients came.", 2),
        ("It was seen by GC-MS. Models were fit.", 2),
        ("Это видно. Далее т. е. здесь.", 2),
        ("如图1所示。第二句图2。", 2),
        ("(It was normal.) α-Tocopherol was given.", 2),
    ],
)
def test_several_sentences(text, count):
    assert len(sentences(text)) == count


@given(st.text(alphabet=string.ascii_letters + string.digits + " .?!()[]\"'–αß\n", max_size=300))
def test_sentences_lose_nothing(text):
    text = " ".join(text.split())
    spans = sentence_spans(text)
    assert "".join(text[begin:end] for begin, end in spans) == text
    assert all(begin < end for begin, end in spans)
    assert all(sentences(text))


def test_flat_is_readable():
    xml = """<caption><title>A  title.</title><p>10<sup>6</sup> cells/mm<sup>2</sup>, H<sub>2</sub>O<sup><xref
      ref-type="bibr">3</xref>,<xref ref-type="bibr">4</xref></sup>
      <inline-formula><alternatives><tex-math>\\alpha</tex-math><math><mi>α</mi></math></alternatives></inline-formula>
      end</p><list><list-item><label>a</label><p>one</p></list-item><list-item><p>two</p></list-item></list></caption>"""
    assert flat(etree.fromstring(xml)) == "A title. 10^6 cells/mm2, H2O[3,4] α end a one two"
    assert flat(None) == ""


def test_run_leaves_inner_blocks_out():
    p = etree.fromstring("<p>Before <fig><label>x</label></fig> and <xref>Fig. 1</xref> after.</p>")
    found = run(p)
    assert found.text.strip() == "Before and Fig. 1 after."
    ((begin, end, _),) = found.spans
    assert found.text[begin:end] == "Fig. 1"


@given(st.recursive(st.text("ab \n", max_size=5), lambda inner: st.lists(inner, max_size=4), max_leaves=30))
def test_flat_has_every_word_in_order(tree):
    def element(node, tag="p"):
        made = etree.Element(tag)
        if isinstance(node, str):
            made.text = node
        else:
            made.extend(element(child) for child in node)
        return made

    top = element(tree)
    assert flat(top).split() == " ".join(top.itertext()).split()


def test_long_text_in_linear_time():
    p = etree.fromstring("<p>" + "Next <b>word.</b> " * 50_000 + "</p>")
    assert len(sentences(flat(p))) == 50_000


@pytest.mark.parametrize(
    ("math", "text"),
    [
        ("<mfrac><mi>a</mi><mi>b</mi></mfrac>", "a/b"),
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><msup><mi>x</mi><mn>2</mn></msup></mfrac>", "(a + 1)/x^2"),
        ("<msubsup><mi>σ</mi><mi>G</mi><mn>2</mn></msubsup>", "σ_G^2"),
        ("<mi>x</mi><mo>=</mo><mo>−</mo><mn>5</mn>", "x = −5"),
        ("<mi>log</mi><mi>x</mi>", "log x"),
        ("<msqrt><mn>2</mn></msqrt>", "√2"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", "x\u0304"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "(a, b)"),
        ("<semantics><mi>α</mi><annotation>\\alpha</annotation></semantics>", "α"),
        ("<mfrac><mi>a</mi></mfrac>", "a"),
    ],
)
def test_mathml_on_one_line(math, text):
    assert flat(etree.fromstring(f"<p>{'<math>'}{math}</math></p>")) == text
    assert (
        flat(etree.fromstring(f'<p xmlns:m="http://www.w3.org/1998/Math/MathML"><m:math>{math}</m:math></p>')) == text
    )


def test_tex_where_there_is_no_mathml():
    tex = r"<tex-math>\documentclass{x}\begin{document}$$\frac{\alpha}{2}$$\end{document}</tex-math>"
    assert flat(etree.fromstring(f"<p>a {tex} b</p>")) == "a α/2 b"
    both = f"<alternatives>{tex}<math><mi>α</mi></math></alternatives>"
    assert flat(etree.fromstring(f"<p>a {both} b</p>")) == "a α b"


@given(st.text(alphabet="Fig. et al [1] AB12 c.", max_size=200), st.integers(0, 200))
def test_sentences_up_to_an_offset(text, until):
    text = " ".join(text.split())
    spans = sentence_spans(text)
    some = sentence_spans(text, until)
    assert some == spans[: len(some)]
    assert any(begin <= until < end for begin, end in some) or until >= len(text)
