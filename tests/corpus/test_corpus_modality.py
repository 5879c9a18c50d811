import csv
import hashlib
import json
import tarfile

import pytest

from llavamed.corpus import jats
from llavamed.corpus.modality import _rules, domain_of, modality_of
from llavamed.corpus.schema import DOMAINS, KINDS


def names(caption, mentions=()):
    return {entry["name"] for entry in modality_of(caption, list(mentions))}


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
        ("Effects of zinc on root length.", "plot"),
        ("Flow chart of the study.", "diagram"),
        ("Western blot of p53.", "gel_blot"),
        ("Photograph of wheat seedlings.", "other"),
    ],
)
def test_kind(caption, kind):
    first = modality_of(caption, [])[0]
    assert first["name"] == kind
    where, words = first["source"].split(": ", 1)
    assert where == "caption"
    assert words in caption


@pytest.mark.parametrize(
    ("caption", "kinds"),
    [
        ("X-ray diffraction patterns of the powder.", {"plot"}),
        ("X-ray of the forearm.", {"radiograph"}),
        ("Proteins on the membrane were exposed to X-ray film after western blotting.", {"gel_blot"}),
        ("Head CT shows a haematoma.", {"ct"}),
        ("Ct values of the target gene.", {"plot"}),
        ("Relative expression by the comparative CT method (mean ± SD).", {"plot"}),
        ("PET scan with an avid node.", {"nuclear"}),
        ("PET bottles after ten days.", set()),
        ("PET/CT before treatment.", {"nuclear", "ct"}),
        ("MR mediators.", set()),
        ("MR images of the knee.", {"mri"}),
        ("SEM images of the fibres.", {"microscopy"}),
        ("Growth of both strains (mean ± SEM).", {"plot"}),
        ("OCT of the macula.", {"fundus_oct"}),
        ("Spectral-domain OCT of the macula.", {"fundus_oct"}),
        ("Oct4 expression in both lines.", {"plot"}),
        ("Optical coherence tomography after surgery.", {"fundus_oct"}),
        ("Computed tomography after surgery.", {"ct"}),
        ("Electron tomography after freezing.", {"microscopy"}),
        ("CT angiography of the aorta.", {"ct"}),
        ("Coronary angiography of the left main artery.", {"radiograph"}),
        ("Gradient echo sequence after gadolinium.", {"mri"}),
        ("Endoscopic ultrasound of the pancreas.", {"ultrasound"}),
        ("Mutations of the gastric fundus.", set()),
        ("Scatter diagram of both methods.", {"plot"}),
        ("Venn diagram of shared genes.", {"plot"}),
        ("Heat map of all genes.", {"plot"}),
        ("Macroscopic strain of the alloy.", set()),
        ("Skin lesions on the face.", {"clinical_photo"}),
        ("Gross domestic product.", set()),
        ("CT and MRI of the brain.", {"ct", "mri"}),
        ("Photo-oxidation of the dye.", set()),
        ("Roots of both lines. Scale bars: 20 µm.", {"microscopy"}),
        ("Roots of both lines. Scale bar = 1 cm.", {"other"}),
        ("A leaf section, toluidine blue stain. Bar, 20 µm.", {"histology"}),
    ],
)
def test_words_that_mean_several_things(caption, kinds):
    assert names(caption) == kinds


def test_several_kinds_and_none():
    assert [entry["name"] for entry in modality_of("CT scan (a) and MRI (b).", [])] == ["ct", "mri"]
    assert modality_of("The patient.", []) == []
    assert modality_of("", []) == []


def test_panels_have_kinds_of_their_own():
    caption = "(A) Western blot of the lysates. (B) Quantification of the bands (mean ± SD). (C) Confocal images."
    assert names(caption) == {"gel_blot", "plot", "microscopy"}


def test_photographs_stand_beside_plots():
    caption = "(A) Photograph of both. (B) Height of the plants: box plot, mean ± SD, P < 0.05."
    assert names(caption) == {"other", "plot"}
    assert names("(A) Photograph of both. (B) Confocal images.") == {"microscopy"}


def test_citing_sentences_tell_only_where_the_caption_does_not():
    (found,) = modality_of("The mass (arrow).", ["Chest CT showed a mass (Fig. 1)."])
    assert found["name"] == "ct"
    assert found["confidence"] < 0.8
    assert found["source"].startswith("mention: ")
    assert [e["name"] for e in modality_of("MRI of the mass.", ["A CT scan was normal."])] == ["mri"]


def test_a_plot_about_images_is_a_plot():
    found = modality_of("Survival curves by immunohistochemistry.", [])
    assert found[0]["name"] == "plot"
    assert not domain_of(found)["histology"]
    assert names("Flow chart of patients who underwent CT scans.") == {"diagram"}
    assert names("Volumes measured by MRI, mean ± SD.") == {"plot"}


def test_more_words_make_surer():
    (one,) = modality_of("Changes in weight.", [])
    (two,) = modality_of("Changes in weight (error bars: standard deviation).", [])
    assert one["confidence"] < two["confidence"] < 1


def test_domains_follow_from_kinds():
    assert domain_of(modality_of("Chest X-ray.", [])) == {name: name == "chest_xray" for name in DOMAINS}


def test_rules_can_be_met():
    assert set(_rules()["kinds"]) == set(KINDS)
    assert {name for name in _rules()["words"] if name.endswith("*") and name != name.lower()} == set()
    assert all(0 < confidence < 1 for groups in _rules()["kinds"].values() for confidence in groups)


def macro_f1(pairs, kinds):
    """`pairs`: (what is true, what is said), sets of `kinds`. Kinds that none is do not count."""
    scores = []
    for name in kinds:
        true, said = (sum(name in pair[side] for pair in pairs) for side in (0, 1))
        both = sum(name in pair[0] and name in pair[1] for pair in pairs)
        scores += [2 * both / (true + said)] if true else []
    return sum(scores) / len(scores)


def test_macro_f1_on_published_captions(data):
    path = data / "llava_med_eval" / "llava_med_eval_qa50_fig_captions.json"
    records = [record for group in json.loads(path.read_text()).values() for record in group]
    pairs = []
    for record in records:
        mentions = [mention["tokens"] for mention in record["in_text_mention"] or []]
        said = domain_of(modality_of(record["fig_caption"], mentions))
        pairs.append(({name for name in DOMAINS if record["domain"][name]}, {name for name in DOMAINS if said[name]}))
    assert macro_f1(pairs, DOMAINS) >= 0.9


def test_macro_f1_on_figures_never_looked_at(data, request):
    path = request.path.with_name("kind_labels.tsv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t"))
    rows = [row for row in rows if hashlib.sha256(row["article"].encode()).digest()[0] % 2]  # the test half
    wanted = {row["article"] for row in rows}
    figures = {}
    with tarfile.open(data / "articles_xml.tar.xz") as archive:
        files = {p.stem: p.read_bytes() for p in (data / "articles").glob("*/*.nxml") if p.stem in wanted}
        for member in archive:
            stem = member.name.rpartition("/")[2].removesuffix(".xml")
            if stem in wanted - files.keys():
                files[stem] = archive.extractfile(member).read()
    for stem, content in files.items():
        figures |= {(stem, figure.fig_id): figure for article in jats.parse(content) for figure in article.figures}
    pairs = []
    for row in rows:
        figure = figures[row["article"], row["figure"]]
        pairs.append((set(row["kinds"].split(",")), names(figure.fig_caption, figure.in_text_mention)))
    assert macro_f1(pairs, KINDS) >= 0.7
