"""What small benchmarks are made of."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image


def png(seed: int) -> bytes:
    """A picture unlike that of any other seed."""
    stream = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(values).resize((48, 40), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def save(folder: Path, *names: str) -> None:
    """Pictures of seeds 0, 1 ... under these names."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(seed))


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False))
    return path


def asked(image: str, question: str, answer: str, **more: object) -> dict:
    return {"image": image, "question": question, "answer": answer, **more}
