"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

# Two workers with two threads each would wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """Real articles and benchmarks, kept outside the project."""
    folder = Path(os.environ.get("LLAVAMED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set LLAVAMED_DATA")
    return folder
