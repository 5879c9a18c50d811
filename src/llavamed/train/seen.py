"""What a model was trained on, as a table that goes with it: `seen.parquet`."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed.train.data import Examples

# One row a record and stage. Tokens are of one showing: times_seen x tokens is what the model read in all.
SEEN = pa.schema(
    [
        ("id", pa.string()),
        ("stage", pa.string()),
        ("times_seen", pa.int32()),
        ("text_tokens", pa.int32()),  # the chat format's own tokens included
        ("image_tokens", pa.int32()),
        # By these a benchmark is compared with what was seen, even where the data are no longer at hand.
        ("image_sha256", pa.string()),  # of the picture's bytes
        ("image_phash", pa.string()),  # 64-bit perceptual hash, hex
        ("questions", pa.list_(pa.string())),  # `question_key` of each human turn
    ]
)


def question_key(text: str) -> str:
    """What a question is known by: 16 hex digits of the SHA-256 of its words in lower case."""
    return hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()[:16]


def rows(model: Path, found: Examples, stage: str, times: int) -> list[dict[str, Any]]:
    """What `model` saw before, then what it saw in this stage."""
    before = model / "seen.parquet"
    now = [
        {
            "id": example.id,
            "stage": stage,
            "times_seen": times,
            "text_tokens": len(example.start) + len(example.rest) - example.image_tokens,
            "image_tokens": example.image_tokens,
            "image_sha256": key,
            "image_phash": found.phashes[key],
            "questions": [question_key(question) for question in example.questions],
        }
        for example, key in zip(found.examples, found.keys, strict=True)
    ]
    return (pq.read_table(before).to_pylist() if before.exists() else []) + now
