"""Numbers of a tensor as the words in which they are stored: cast, combined bit by bit, added.

Arrays are of bytes (uint8), little-endian, whole numbers of the type named by safetensors ("F16", "BF16", ...).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llavamed.model.tensors import SIZES

Bytes = NDArray[np.uint8]
FLOATS = ("F64", "F32", "F16", "BF16")
_FLOAT: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def xor(given: Bytes, base: Bytes, dtype: str, base_dtype: str, room: Bytes) -> Bytes:
    """The bits in which `given` differs from `base` cast to its type, in `room`; the same again gives `given` back."""
    return np.bitwise_xor(given, cast(base, base_dtype, dtype), out=room[: len(given)])


def add(given: Bytes, base: Bytes, dtype: str, base_dtype: str, _room: Bytes) -> Bytes:
    """The sum of `given` and `base` cast to its type, rounded to nearest, as PyTorch adds them."""
    base = cast(base, base_dtype, dtype)
    if dtype not in FLOATS:
        whole = np.dtype(f"<{'u' if dtype[0] == 'U' or dtype == 'BOOL' else 'i'}{SIZES[dtype]}")
        return np.asarray(given.view(whole) + base.view(whole)).view(np.uint8)
    if dtype == "F64":
        return (given.view(np.float64) + base.view(np.float64)).view(np.uint8)
    with np.errstate(all="ignore"):
        return _narrow(_wide(given, dtype) + _wide(base, dtype), dtype)


def cast(words: Bytes, dtype: str, to: str) -> Bytes:
    """Floats of one type as another, rounded to nearest; what is no number becomes one and the same, on any machine.

    Of the same type, words stay as they are.
    """
    if dtype == to:
        return words
    with np.errstate(all="ignore"):
        if "F64" in (dtype, to):
            wide = words.view(np.float64) if dtype == "F64" else _wide(words, dtype).astype(np.float64)
            wide = np.where(np.isnan(wide), np.nan, wide)
            return wide.view(np.uint8) if to == "F64" else _narrow(wide.astype(np.float32), to)
        wide = _wide(words, dtype)
        return _narrow(np.where(np.isnan(wide), np.float32(np.nan), wide), to)


def _wide(words: Bytes, dtype: str) -> Any:
    """As float32, which holds all of them."""
    if dtype == "BF16":
        return (words.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return words.view(_FLOAT[dtype]).astype(np.float32, copy=False)


def _narrow(wide: Any, dtype: str) -> Bytes:
    """float32 as words of a type, rounded to nearest, ties to even."""
    if dtype != "BF16":
        return np.ascontiguousarray(wide.astype(_FLOAT[dtype], copy=False)).view(np.uint8)
    bits = np.ascontiguousarray(wide).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(wide), 0x7FC0, rounded).astype(np.uint16).view(np.uint8)
