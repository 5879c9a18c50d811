"""What a model was trained on, as a table that goes with it: `seen.parquet`."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed.train.tokens import Example

# One row a record and stage. Tokens are of one showing: times_seen x tokens is what the model read in all.
SEEN = pa.schema(
    [
        ("id", pa.string()),
        ("stage", pa.string()),
        ("times_seen", pa.int32()),
        ("text_tokens", pa.int32()),  # the chat format's own tokens included
        ("image_tokens", pa.int32()),
    ]
)


def rows(model: Path, examples: list[Example], stage: str, times: int) -> list[dict[str, Any]]:
    """What `model` saw before, then what it saw in this stage."""
    before = model / "seen.parquet"
    now = [
        {
            "id": example.id,
            "stage": stage,
            "times_seen": times,
            "text_tokens": len(example.ids) - example.image_tokens,
            "image_tokens": example.image_tokens,
        }
        for example in examples
    ]
    return (pq.read_table(before).to_pylist() if before.exists() else []) + now
