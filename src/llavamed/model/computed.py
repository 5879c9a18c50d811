"""Tensors whose numbers are made as they are read, a piece at a time: of another type, with more rows, the identity.

They need room of 8 bytes a number, and give an array of their own; none is meant to be loaded whole.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from llavamed.errors import InputError
from llavamed.model.tensors import SIZES, Tensor
from llavamed.model.words import FLOATS, Bytes, cast

_ROOM = 2**20  # numbers in memory at once
Open = Callable[[Path], BinaryIO]


def typed(tensor: Tensor, dtype: str) -> Tensor:
    """The same numbers as floats of type `dtype`, rounded to nearest; itself where it is of that type.

    Raises:
        InputError: its numbers are no floats, so it is no weight.
    """
    if tensor.dtype not in FLOATS:
        raise InputError(f"{tensor.file}: {tensor.name} is of type {tensor.dtype}, which is no weight: get it again")
    if dtype == tensor.dtype:
        return tensor
    return _Cast(tensor.name, tensor.file, dtype, tensor.shape, 0, inner=tensor)


def grown(tensor: Tensor, rows: int) -> Tensor:
    """With so many rows, the new ones the mean of its own; itself where it has them.

    The mean's logit is the mean of theirs, so none of the new tokens is ever the likeliest.
    """
    if rows <= tensor.shape[0]:
        return tensor
    shape = (rows, *tensor.shape[1:])
    return _Grown(tensor.name, tensor.file, tensor.dtype, shape, 0, inner=tensor, row=_mean(tensor))


def identity(name: str, width: int, dtype: str) -> Tensor:
    """A square matrix that changes nothing."""
    return _Identity(name, Path(), dtype, (width, width), 0)


def zeros(name: str, width: int, dtype: str) -> Tensor:
    """A vector of zeros."""
    return Tensor(name, Path(), dtype, (width,), 0, np.zeros(width * SIZES[dtype], np.uint8))


@dataclass(frozen=True, kw_only=True)
class _Cast(Tensor):
    inner: Tensor

    def read(self, first: int, last: int, opened: Open, room: NDArray[np.uint8]) -> Any:
        return cast(self.inner.read(first, last, opened, room), self.inner.dtype, self.dtype)


@dataclass(frozen=True, kw_only=True)
class _Grown(Tensor):
    inner: Tensor
    row: Bytes

    def read(self, first: int, last: int, opened: Open, room: NDArray[np.uint8]) -> Any:
        size, known = SIZES[self.dtype], min(max(self.inner.count, first), last)
        piece = room[: (last - first) * size]
        if known > first:
            piece[: (known - first) * size] = self.inner.read(first, known, opened, room)
        row = self.row.reshape(-1, size)
        piece[(known - first) * size :] = row[np.arange(known, last) % len(row)].reshape(-1)
        return piece


@dataclass(frozen=True, kw_only=True)
class _Identity(Tensor):
    def read(self, first: int, last: int, opened: Open, room: NDArray[np.uint8]) -> Any:
        step = self.shape[0] + 1  # from one 1 to the next
        numbers = np.zeros(last - first, np.float32)
        numbers[-first % step :: step] = 1
        return cast(numbers.view(np.uint8), "F32", self.dtype)


def _mean(tensor: Tensor) -> Bytes:
    """Of its rows."""
    rows, width = tensor.shape
    some = max(1, _ROOM // width)
    room, total = np.empty(8 * some * width, np.uint8), np.zeros(width)
    with ExitStack() as stack:
        opened = cache(lambda path: stack.enter_context(path.open("rb")))
        for first in range(0, rows, some):
            last = min(first + some, rows)
            piece = tensor.read(first * width, last * width, opened, room)
            total += cast(piece, tensor.dtype, "F64").view(np.float64).reshape(-1, width).sum(0)
    return cast((total / rows).view(np.uint8), "F64", tensor.dtype)
