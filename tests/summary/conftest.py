"""A run's folder."""

from pathlib import Path

import pytest
from small_run import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """See small_run.py."""
    return write_run(tmp_path / "run")
