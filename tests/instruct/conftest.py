"""A small corpus with odd figures."""

from pathlib import Path

import pytest

from small_corpus import figure, figures, write_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """120 figures in three files, of which 4 are odd: no caption twice, no kind, two kinds."""
    odd = [
        figure(900, "test", "ct", ""),
        figure(901, "test", "ct", "Figure 3. (A)"),
        figure(902, "test", None, "A view of the cut surface of the tumour."),
        figure(903, "test", "other", "A map of the study area in the north."),
    ]
    odd[3]["modality"].append({"name": "plot", "confidence": 0.5, "source": "test"})
    odd[3]["modality"].append({"name": "gel_blot", "confidence": 0.5, "source": "test"})
    return write_corpus(
        tmp_path / "corpus",
        [
            ("train", figures("train", 0, 60)),
            ("train", figures("train", 60, 36)),
            ("test", figures("test", 96, 20) + odd),
        ],
    )
