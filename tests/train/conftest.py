"""A tiny model, and ten conversations to train it on."""

from pathlib import Path

import pytest
from small_talk import publish, row

from llavamed.model import checkpoint
from llavamed.model.build import build


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    pytest.importorskip("torch").set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    build("tiny", folder, image_size=56)
    return folder


@pytest.fixture(scope="session")
def loaded(tiny):
    return checkpoint.load(tiny)


@pytest.fixture(scope="session")
def talk(tmp_path_factory) -> Path:
    rows = [row(n) for n in range(10)] + [row(n, "test") for n in range(10, 13)]
    return publish(tmp_path_factory.mktemp("talk") / "data", rows)
