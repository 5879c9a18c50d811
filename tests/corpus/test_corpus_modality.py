import json

import pytest

from llavamed.corpus.modality import domain_of, modality_of
from llavamed.corpus.schema import DOMAINS, KINDS


@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("Posteroanterior chest X-ray with a nodule.", "chest_xray"),
        ("Portable chest radiograph on admission.", "chest_xray"),
        ("Lateral radiograph of the left knee.", "radiograph"),
        ("Axial contrast-enhanced CT of the abdomen.", "ct"),
        ("Sagittal T2-weighted image of the spine.", "mri"),
        ("Transvaginal ultrasound of the ovary.", "ultrasound"),
        ("Bone scan with increased uptake, 99mTc scintigraphy.", "nuclear"),
        ("Section of the tumour (H&E, ×200).", "histology"),
        ("Confocal microscopy of neurons.", "microscopy"),
        ("Gross specimen with a cut surface.", "gross"),
        ("Colonoscopy showing a polyp.", "endoscopy"),
        ("Fundus photograph of the right eye.", "fundus_oct"),
        ("Clinical photograph of the hand.", "clinical_photo"),
        ("Kaplan-Meier curves of both groups.", "plot"),
        ("Flow chart of the study.", "diagram"),
        ("Western blot of p53.", "gel_blot"),
    ],
)
def test_kind(caption, kind):
    first = modality_of(caption, [])[0]
    assert first["name"] == kind
    where, words = first["source"].split(": ", 1)
    assert where == "caption"
    assert words in caption


def test_several_kinds_and_none():
    assert [entry["name"] for entry in modality_of("CT scan (a) and MRI (b).", [])] == ["ct", "mri"]
    assert modality_of("The patient.", []) == []


def test_citing_sentences_tell_only_where_the_caption_does_not():
    (found,) = modality_of("The mass (arrow).", ["Chest CT showed a mass (Fig. 1)."])
    assert found["name"] == "ct"
    assert found["confidence"] < 0.8
    assert found["source"].startswith("mention: ")
    assert [e["name"] for e in modality_of("MRI of the mass.", ["A CT scan was normal."])] == ["mri"]


def test_a_plot_about_images_is_a_plot():
    found = modality_of("Survival curves by histological type.", [])
    assert found[0]["name"] == "plot"
    assert not domain_of(found)["histology"]


def test_domains_follow_from_kinds():
    assert domain_of(modality_of("Chest X-ray.", [])) == {name: name == "chest_xray" for name in DOMAINS}


def test_rules_name_kinds_only():
    from llavamed.corpus.modality import _rules

    assert set(_rules()["kinds"]) == set(KINDS) - {"other"}


def test_macro_f1_on_published_captions(data):
    path = data / "llava_med_eval" / "llava_med_eval_qa50_fig_captions.json"
    records = [record for group in json.loads(path.read_text()).values() for record in group]
    scores = []
    for name in DOMAINS:
        pairs = []
        for record in records:
            mentions = [mention["tokens"] for mention in record["in_text_mention"] or []]
            said = domain_of(modality_of(record["fig_caption"], mentions))
            pairs.append((record["domain"][name], said[name]))
        both = sum(true and said for true, said in pairs)
        scores.append(2 * both / sum(true + said for true, said in pairs))
    assert sum(scores) / len(scores) >= 0.9
