"""From an entry to rows: several graphics, panels."""

import io

import numpy as np
import pytest
from packages import encoded, fig, jats, package
from PIL import Image

from llavamed import artifact, storage
from llavamed.corpus.build import build


def photo(seed: int, width: int = 300, height: int = 240) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(40, 220, (height, width, 3), dtype=np.uint8))


def beside(*images: Image.Image, gap: int = 20) -> Image.Image:
    whole = Image.new("RGB", (sum(i.width + gap for i in images) - gap, images[0].height), "white")
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width + gap
    return whole


def one(tmp_path, caption, image, **options):
    folder = package(tmp_path / "src", "PMC1", n=0, xml=jats(fig(1, caption), ids="pmc:1"))
    (folder / "g1.png").write_bytes(encoded(image))
    result = build([tmp_path / "src"], tmp_path / "out", **options)
    return result, sorted(storage.read_rows(tmp_path / "out"), key=lambda row: row["pair_id"])


def opened(row):
    return Image.open(io.BytesIO(row["image"]["bytes"]))


CAPTION = "Follow-up. (A) Chest X-ray on admission. (B) Axial CT of the abdomen."


def test_panels_are_told(tmp_path):
    result, (row,) = one(tmp_path, CAPTION, beside(photo(1), photo(2)))
    assert [(panel["label"], panel["subcaption"]) for panel in row["panels"]] == [
        ("A", "Chest X-ray on admission."),
        ("B", "Axial CT of the abdomen."),
    ]
    assert np.abs(np.subtract(row["panels"][1]["box"], [320, 0, 620, 240])).max() <= 4
    assert not row["single_plot"]
    assert result["figures"]["kept"] == 1


def test_split_makes_a_record_of_each_panel(tmp_path):
    first, second = photo(1, 900, 600), photo(2, 900, 600)
    result, rows = one(tmp_path, CAPTION, beside(first, second, gap=60), panels="split", max_side=400)
    assert result["figures"] == {"in": 1, "kept": 1, "excluded": {}}
    assert artifact.read_manifest(tmp_path / "out")["counts"]["panels"] == {"in": 2, "kept": 2, "excluded": {}}
    assert [row["pair_id"] for row in rows] == ["PMC1_F1_A", "PMC1_F1_B"]
    assert [row["panel"] for row in rows] == ["A", "B"]
    assert [row["fig_label"] for row in rows] == ["Figure 1A", "Figure 1B"]
    assert [row["fig_caption"] for row in rows] == ["Chest X-ray on admission.", "Axial CT of the abdomen."]
    assert [[kind["name"] for kind in row["modality"]] for row in rows] == [["chest_xray"], ["ct"]]
    assert all(row["single_plot"] and not row["panels"] for row in rows)
    # cut out of the figure as it was, not of one shrunk to 400 pixels
    assert all(max(row["width"], row["height"]) >= 390 for row in rows)


def test_figures_are_counted_again_when_their_panels_are_read(tmp_path):
    from llavamed.corpus.choose import Choice

    one(tmp_path, CAPTION, beside(photo(1), photo(2)), panels="split")
    result = build([tmp_path / "out"], tmp_path / "again", choice=Choice(kinds=("ct",)))
    assert result["figures"] == {"in": 1, "kept": 1, "excluded": {}}
    counts = artifact.read_manifest(tmp_path / "again")["counts"]
    assert counts["panels"] == {"in": 2, "kept": 1, "excluded": {"kind": 1}}
    result = build([tmp_path / "out"], tmp_path / "none", choice=Choice(kinds=("mri",)))
    assert result["figures"] == {"in": 1, "kept": 0, "excluded": {"kind": 1}}


def test_split_leaves_a_single_picture_whole(tmp_path):
    _, (row,) = one(tmp_path, "Chest X-ray.", photo(1), panels="split")
    assert (row["pair_id"], row["single_plot"]) == ("PMC1_F1", True)


def test_panels_are_chosen_one_by_one(tmp_path):
    from llavamed.corpus.choose import Choice

    image = beside(photo(1), photo(2))
    result, (row,) = one(tmp_path, CAPTION, image, panels="split", choice=Choice(kinds=("ct",)))
    assert row["pair_id"] == "PMC1_F1_B"
    assert result["figures"] == {"in": 1, "kept": 1, "excluded": {}}
    panels = artifact.read_manifest(tmp_path / "out")["counts"]["panels"]
    assert panels == {"in": 2, "kept": 1, "excluded": {"kind": 1}}


GRAPHICS = '<graphic xlink:href="g1a"/><graphic xlink:href="g1b"/>'


@pytest.mark.parametrize("missing", [False, True])
def test_several_graphics_are_one_picture(tmp_path, missing):
    xml = jats(fig(1).replace('<graphic xlink:href="g1"/>', GRAPHICS), ids="pmc:1")
    folder = package(tmp_path / "src", "PMC1", n=0, xml=xml)
    (folder / "g1a.png").write_bytes(encoded(photo(1)))
    if not missing:
        (folder / "g1b.png").write_bytes(encoded(photo(2)))
    result = build([tmp_path / "src"], tmp_path / "out")
    (row,) = storage.read_rows(tmp_path / "out")
    assert result["figures"] == {"in": 1, "kept": 1, "excluded": {}}
    if missing:
        assert (row["height"], row["flags"]) == (240, ["part_missing"])
    else:
        assert (row["width"], row["flags"]) == (300, [])
        assert row["height"] > 480
        assert len(row["panels"]) == 2
