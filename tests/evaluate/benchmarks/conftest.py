"""A user's own small benchmark."""

from pathlib import Path

import pytest

from small_benchmarks import asked, save, write


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's own: three training and two test questions, on a.png, b.png and c.png."""
    folder = tmp_path / "own"
    save(folder, "a.png", "b.png", "c.png")
    train = [
        asked("a.png", "Is it round?", "yes"),
        asked("b.png", "What is it?", "A mass."),
        asked("b.png", "Where?", "x"),
    ]
    write(folder / "train.json", [row | {"id": f"r{n}"} for n, row in enumerate(train)])
    test = [
        asked("c.png", "Is it round?", "No", id="t0", organ="Lung"),
        asked("c.png", "What is it?", "A cyst.", id="t1"),
    ]
    write(folder / "test.json", test)
    return folder
