"""The first sentence of a caption, on the shapes that captions have in print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llavamed.instruct.caption import MAX_WORDS, first_sentence, sentences

CASES = {
    "Figure 1. CT of the chest with a nodule. A second sentence.": "CT of the chest with a nodule.",
    "Fig. 2: (A) Survival of treated mice. (B) Weight.": "Survival of treated mice.",
    "(a) and (b) Cardiac CT shows the right coronary artery.": "Cardiac CT shows the right coronary artery.",
    "Growth of E. coli at 37 °C for 24 h. Bars are means.": "Growth of E. coli at 37 °C for 24 h.",
    "S. aureus inhibits the growth of C. albicans (see Table 2).": "S. aureus inhibits the growth of C. albicans.",
    "H&E stain. Sheets of foamy macrophages (long arrow).": "H&E stain. Sheets of foamy macrophages (long arrow).",
    "Uptake of As(III) in roots (a) and shoots (b) [12, 14].": "Uptake of As(III) in roots and shoots.",
    "a) Crystal structure of iron and b) of zinc.": "Crystal structure of iron and of zinc.",
    "VLP characterization. a Microscopy of cells. b Blot.": "VLP characterization. Microscopy of cells.",
    "This figure shows the mass in the left kidney": "The mass in the left kidney.",
    "mRNA levels in the liver, as described in the text": "mRNA levels in the liver.",
    "Pedicle of the cyst (adapted from Smith et al. 2010).": "Pedicle of the cyst.",
    "Parasites under the microscope (A–D). A. A ring form.": "Parasites under the microscope.",
    "—Conserved  genes\nin two clades.": "Conserved genes in two clades.",
    "Is the lesion in segment 4 benign? It is.": "Is the lesion in segment 4 benign?",
    "": "",
    "Figure 7.": "",
    "(A) (B)": "",
    "A and B": "",
}  # fmt: skip


@pytest.mark.parametrize(("caption", "wanted"), CASES.items())
def test_first_sentence(caption, wanted):
    assert first_sentence(caption) == wanted


def test_a_list_of_panels_is_cut():
    listed = "; ".join(f"({letter}) " + " ".join(f"word{i}" for i in range(12)) for letter in "abcdefgh")
    assert 0 < len(first_sentence(listed).split()) <= MAX_WORDS


@given(st.text(max_size=300))
def test_any_text_gives_one_clean_line_or_nothing(text):
    said = first_sentence(text)
    assert said == " ".join(said.split())
    assert said == "" or said[-1] in ".?!"


@given(st.text(alphabet="ab .?!()A1", max_size=80))
def test_sentences_lose_no_text(text):
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
