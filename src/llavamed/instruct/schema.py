"""The table of conversations."""

import pyarrow as pa

from llavamed.corpus.schema import FIGURES, IMAGE, with_features

_TURNS = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))

CONVERSATIONS = with_features(
    pa.schema(
        [
            ("id", pa.string()),
            ("pair_id", pa.string()),
            ("image", IMAGE),
            FIGURES.field("domain"),
            ("conversations", _TURNS),  # from: human, gpt, in turn; the first human turn carries <image>
            ("teacher", pa.string()),
            ("prompt_hash", pa.string()),
            ("split", pa.string()),
            ("record", pa.string()),  # of an imported row: what its record had besides, as JSON (formats/layout.py)
        ]
    )
)
EXCLUDED = pa.schema([(name, pa.string()) for name in ("id", "pair_id", "split", "source", "reason", "detail")])
# A record that could not be imported is there whole, as text.
NOT_IMPORTED = EXCLUDED.append(pa.field("record", pa.string()))
# What cleaning leaves out: a turn, or a conversation (`turn` is empty) of which no turn is left.
DROPPED = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "pair_id", "teacher", "prompt_hash", "split")),
        ("turn", pa.int32()),  # from 1
        *((name, pa.string()) for name in ("question", "answer", "source", "reason", "detail")),
    ]
)
