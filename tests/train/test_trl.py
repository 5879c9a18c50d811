"""Exported messages, as TRL reads vision data."""

import pytest

from llavamed import storage
from llavamed.instruct.formats.exporting import export_set
from llavamed.train.data import count_image_tokens
from llavamed.train.tokens import messages

pytestmark = pytest.mark.slow
datasets = pytest.importorskip("datasets")
pytest.importorskip("trl")


def test_exported_messages_are_batches_of_trl(talk, loaded, tmp_path):
    """And TRL reads from them what we train on ourselves."""
    from trl.data_utils import is_conversational, prepare_multimodal_messages
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    _, processor = loaded
    export_set(talk, tmp_path / "out", form="messages")
    data = tmp_path / "out/data"
    rows = datasets.load_dataset("json", data_files=str(data / "train.jsonl"), split="train", cache_dir=str(tmp_path))
    rows = rows.map(lambda row: {"images": [f"{data}/{name}" for name in row["images"]]})
    rows = rows.cast_column("images", datasets.List(datasets.Image()))
    ours = [row for row in storage.read_rows(talk) if row["split"] == "train"]
    assert len(rows) == len(ours) and is_conversational(rows[0])
    for row, own in zip(rows, ours, strict=True):
        said = prepare_multimodal_messages(row["messages"], images=row["images"])
        (picture,) = [part["image"] for part in said[0]["content"] if part["type"] == "image"]
        assert picture.size == (60, 40)
        texts = [[part["text"] for part in turn["content"] if part["type"] == "text"] for turn in said]
        assert texts == [
            [part["text"] for part in turn["content"] if part["type"] == "text"]
            for turn in messages(own["conversations"])
        ]
    batch = DataCollatorForVisionLanguageModeling(processor)([rows[0], rows[1]])
    assert len(batch["pixel_values"]) == 2
    marks = (batch["input_ids"] == processor.image_token_id).sum(dim=1).tolist()
    assert marks == [count_image_tokens(processor)] * 2
