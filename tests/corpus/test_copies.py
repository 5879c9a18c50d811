"""Pictures that are there more than once, or in a test set."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import encoded, fig, jats, package
from PIL import Image, ImageEnhance, ImageFilter

from llavamed import artifact, storage
from llavamed.corpus import copies
from llavamed.corpus.build import build
from llavamed.corpus.near import sketch, unit
from llavamed.corpus.test_sets import files_of
from llavamed.errors import InputError
from llavamed.verify import rehash


def scene(seed: int, side: int = 256) -> Image.Image:
    """A smooth picture of its own for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2)).convert("RGB")


def article(folder, number, **pictures):
    """PMC<number> with figures 1, 2 ... of these pictures."""
    xml = jats("".join(fig(n) for n in range(1, len(pictures) + 1)), ids=f"pmc:{number}")
    made = package(folder, f"PMC{number}", n=0, xml=xml)
    for n, data in enumerate(pictures.values(), start=1):
        (made / f"g{n}.png").write_bytes(data)


@pytest.fixture
def src(tmp_path):
    """PMC2 and PMC3 repeat figures of PMC1, to the byte and to the eye; PMC1 and PMC4 repeat their own."""
    one, two, three = (scene(seed) for seed in (1, 2, 3))
    folder = tmp_path / "src"
    article(folder, 1, a=encoded(one), b=encoded(two), c=encoded(one))
    article(folder, 2, a=encoded(one), b=encoded(three))
    article(folder, 3, a=encoded(ImageEnhance.Contrast(two).enhance(1.2).resize((180, 180)), "JPEG", quality=50))
    return folder


@pytest.fixture
def corpora(src, tmp_path):
    """The same articles with large pictures and with small ones."""
    build([src], tmp_path / "large", max_side=200, duplicates="keep")
    build([src], tmp_path / "small", max_side=100, duplicates="keep")
    return tmp_path / "large", tmp_path / "small"


@pytest.fixture
def namesakes(tmp_path):
    """Two folders: 001.png of both is another figure, 002.png the same."""
    folders = tmp_path / "1", tmp_path / "2"
    for number, (folder, caption) in enumerate(zip(folders, ("A hand.", "A foot."), strict=True)):
        folder.mkdir()
        scene(10 + number).save(folder / "001.png")
        scene(20).save(folder / "002.png")
        (folder / "list.csv").write_text(f"file,caption\n001.png,{caption}\n002.png,A ball.\n")
    return folders


def left_out(folder):
    return {r["pair_id"]: (r["reason"], r["detail"]) for r in storage.read_rows(folder, "excluded")}


def test_modes(src, tmp_path):
    assert build([src], tmp_path / "keep", duplicates="keep")["figures"]["kept"] == 6
    result = build([src], tmp_path / "exact")
    assert result["figures"] == {"in": 6, "kept": 5, "excluded": {"duplicate_image": 1}}
    assert left_out(tmp_path / "exact") == {"PMC2_F1": ("duplicate_image", "the same as PMC1_F1")}
    result = build([src], tmp_path / "near", duplicates="near")
    assert result["figures"]["excluded"] == {"duplicate_image": 1, "near_duplicate_image": 1}
    assert left_out(tmp_path / "near")["PMC3_F1"][1].startswith("like PMC1_F2: 0.99")
    manifest = artifact.read_manifest(tmp_path / "near")
    assert sum(manifest["histograms"]["split"].values()) == len([*storage.read_rows(tmp_path / "near")]) == 4
    assert rehash(tmp_path / "near") == []


@pytest.mark.parametrize("mode", copies.MODES)
@pytest.mark.parametrize("order", [1, -1])
def test_of_a_figure_in_two_sizes_the_larger_is_kept(corpora, tmp_path, mode, order):
    result = build([*corpora][::order], tmp_path / "out", duplicates=mode)
    alone = build([corpora[0]], tmp_path / "alone", duplicates=mode)
    kept = {row["pair_id"]: row["width"] for row in storage.read_rows(tmp_path / "alone")}
    assert [(row["pair_id"], row["width"]) for row in storage.read_rows(tmp_path / "out")] == [*kept.items()]
    assert result["figures"]["in"] == 12
    assert result["figures"]["excluded"] == {"duplicate_figure": 6} | alone["figures"]["excluded"]
    details = {row["detail"] for row in storage.read_rows(tmp_path / "out", "excluded")}
    assert "two sources hold it: the larger is kept" in details


def test_two_sizes_whatever_the_workers(corpora, tmp_path):
    hashes = [build([*corpora], tmp_path / f"w{w}", workers=w)["hash"] for w in (1, 2)]
    assert hashes[0] == hashes[1]


def test_figures_of_one_name_both_stay(namesakes, tmp_path):
    build([namesakes[0]], tmp_path / "small", max_side=100)
    result = build([namesakes[1], tmp_path / "small"], tmp_path / "out")
    assert result["figures"] == {"in": 4, "kept": 3, "excluded": {"duplicate_figure": 1}}
    kept = {row["pair_id"]: (row["fig_caption"], row["width"]) for row in storage.read_rows(tmp_path / "out")}
    assert kept == {"001.png": ("A foot.", 256), "001.png-2": ("A hand.", 100), "002.png": ("A ball.", 256)}


def test_a_panel_and_a_figure_of_one_name():
    def row(panel):
        return copies._Row("f", 0, "F1_B", panel, "PMC1", True, 0, 1, panel, 0)

    found, ids = copies._of_one_id([row(""), row("B"), row("B")])
    assert list(found) == [2]
    assert ids == {1: "F1-2_B"}


def test_first_in_order_stays_whatever_the_workers(src, tmp_path, monkeypatch):
    hashes = [build([src], tmp_path / f"w{w}", duplicates="near", workers=w)["hash"] for w in (1, 2)]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("stop", range(1, 9))
def test_killed_while_moving(corpora, namesakes, tmp_path, monkeypatch, stop):
    whole = build([*corpora, *namesakes], tmp_path / "whole", duplicates="near")["hash"]
    calls = []
    write, unlink = storage.write_table, type(tmp_path).unlink

    def dying(step):
        def call(*arguments, **options):
            if (tmp_path / "out" / ".job" / "copies.json").exists():
                calls.append(arguments)
                if len(calls) == stop:
                    raise KeyboardInterrupt
            return step(*arguments, **options)

        return call

    monkeypatch.setattr(artifact, "write_table", dying(write))
    monkeypatch.setattr(type(tmp_path), "unlink", dying(unlink))
    try:
        build([*corpora, *namesakes], tmp_path / "out", duplicates="near")
    except KeyboardInterrupt:
        assert not (tmp_path / "out" / "manifest.json").exists()
    monkeypatch.undo()
    assert build([*corpora, *namesakes], tmp_path / "out", duplicates="near")["hash"] == whole
    assert rehash(tmp_path / "out") == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=30), st.lists(st.integers(0, 63), max_size=8))
def test_candidates_are_all_pairs_within_the_bound(hashes, flips):
    flipped = hashes[0]
    for bit in flips:
        flipped ^= 1 << bit
    hashes = [*hashes, flipped]
    rows = [copies._Row("f", i, str(i), "", str(i), True, 0, 1, "", value) for i, value in enumerate(hashes)]
    found = copies._candidates(rows, [*range(len(rows))])
    pairs = {(j, i) for j in range(len(rows)) for i in range(j) if (hashes[i] ^ hashes[j]).bit_count() <= copies.BITS}
    assert found == pairs


def test_against_a_folder_and_a_table(src, tmp_path):
    (tmp_path / "test" / "deep").mkdir(parents=True)
    (tmp_path / "test" / "deep" / "q.jpg").write_bytes(encoded(scene(2).resize((500, 500)), "JPEG", quality=80))
    (tmp_path / "test" / "broken.jpg").write_bytes(b"no picture")
    result = build([src], tmp_path / "out", against=[tmp_path / "test"], duplicates="keep")
    assert result["figures"]["excluded"] == {"in_test_set": 2}
    found = left_out(tmp_path / "out")
    assert set(found) == {"PMC1_F2", "PMC3_F1"}
    assert found["PMC1_F2"][1].startswith("test/deep/q.jpg: likeness")
    # what was kept, as the next corpus's test set: the same pictures
    again = build([src], tmp_path / "again", against=[tmp_path / "out"], duplicates="keep")
    assert again["figures"] == {"in": 6, "kept": 2, "excluded": {"in_test_set": 4}}
    assert left_out(tmp_path / "again")["PMC2_F2"][1].endswith(": the same")


def test_bad_test_sets(src, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.parquet").write_bytes(b"PAR1")
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "x.png").touch()
    for name, words in (
        ("missing", "does not exist: name"),
        ("empty", "no test set"),
        ("bad", "no Parquet"),
        ("blank", "no picture"),
    ):
        with pytest.raises(InputError, match=words):
            build([src], tmp_path / "out", against=[tmp_path / name])
        assert not (tmp_path / "out").exists()


def test_sketches_tell_pictures_apart():
    drawn = unit([sketch(scene(seed)) for seed in range(20)])
    likeness = drawn @ drawn.T
    assert np.allclose(likeness.diagonal(), 1, atol=1e-5)
    assert (likeness - np.eye(20)).max() < 0.9
    flat = unit([sketch(Image.new("L", (5, 5), 7))])
    assert not flat.any()


def test_real_test_images(data, tmp_path):
    """Every tenth VQA-RAD image, recompressed into articles, is found again."""
    files = files_of([data / "vqa_rad"])
    images = [path for _, path in files if path.suffix != ".parquet"][::10]
    if not images:
        pytest.skip("no image files in vqa_rad")
    folder = tmp_path / "src"
    for number, path in enumerate(images, start=1):
        with Image.open(path) as image:
            out = io.BytesIO()
            image.convert("RGB").resize((image.width * 3 // 4, image.height * 3 // 4)).save(out, "JPEG", quality=60)
        article(folder, number, a=out.getvalue())
    result = build([folder], tmp_path / "out", against=[path for path in images], duplicates="keep")
    assert result["figures"]["excluded"] == {"in_test_set": len(images)}
