"""The tensors of a checkpoint folder where they lie in its files, to be read a piece at a time.

safetensors files are read by their header alone (https://huggingface.co/docs/safetensors); `.bin` files by PyTorch, as
weights only and without their numbers, which lie in them as they are.
"""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llavamed.errors import InputError
from llavamed.manifest import refuse_other

SUFFIX = ".safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000  # bytes: the format's own limit
# Bytes of a number, by the format's names of its types.
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2}
SIZES |= {"U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
_LISTED = 8  # names in a message
_PICKLED = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth")  # beside the first may lie training_args.bin and the like


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: `begin`, of the first of its `size` bytes in `file`; or in memory, mapped from it."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    mapped: Any = None  # numpy, uint8

    @property
    def count(self) -> int:
        """Its numbers."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.count * SIZES[self.dtype]

    def read(self, first: int, last: int, opened: Callable[[Path], BinaryIO], room: NDArray[np.uint8]) -> Any:
        """The words of its numbers `first` up to `last`, at the beginning of `room`. `opened`: gives an open file.

        Raises:
            InputError: the file ends before.
        """
        begin, end = (SIZES[self.dtype] * place for place in (first, last))
        piece = room[: end - begin]
        if self.mapped is not None:
            piece[:] = self.mapped[begin:end]
            return piece
        stream = opened(self.file)
        stream.seek(self.begin + begin)
        if stream.readinto(piece.data) != len(piece):  # type: ignore[attr-defined]
            raise InputError(f"{self.file} ends within {self.name}: get it again")
        return piece

    def load(self) -> Any:
        """The whole of it, of torch.

        Raises:
            InputError: its numbers are no floats, so it is no weight.
        """
        import torch

        kinds = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
        if self.dtype not in kinds:
            raise InputError(f"{self.file}: {self.name} is of type {self.dtype}, which is no weight: get it again")
        room = np.empty(self.size, np.uint8)
        with ExitStack() as stack:
            self.read(0, self.count, lambda path: stack.enter_context(path.open("rb")), room)
        return torch.from_numpy(room).view(kinds[self.dtype]).reshape(self.shape)

    def rows(self, first: int, last: int) -> "Tensor":
        """Some of its rows, where they lie."""
        width = self.size // self.shape[0]
        mapped = None if self.mapped is None else self.mapped[first * width : last * width]
        shape = (last - first, *self.shape[1:])
        return Tensor(self.name, self.file, self.dtype, shape, self.begin + first * width, mapped)


class Header(NamedTuple):
    """Of a safetensors file: its header as it stands there, and the tensors in the order of their bytes."""

    text: bytes
    tensors: list[Tensor]


def read_header(path: Path) -> Header:
    """The header of a safetensors file.

    Raises:
        InputError: the file is no such file, or cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise InputError(f"{path} is no safetensors file, or cut short: get it again")
        text = stream.read(length)
    try:
        entries = json.loads(text)
        tensors = [
            Tensor(name, path, entry["dtype"], tuple(map(int, entry["shape"])), 8 + length + int(at))
            for name, entry in entries.items()
            if name != "__metadata__"
            for at, _ in [entry["data_offsets"]]
        ]
        tensors.sort(key=lambda tensor: (tensor.begin, tensor.size))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: its header cannot be read ({error!r}): get it again") from None
    at = 8 + length
    for tensor in tensors:
        if tensor.begin != at or min((0, *tensor.shape)) < 0:
            raise InputError(f"{path}: {tensor.name} is not where the one before it ends: get it again")
        at += tensor.size
    if at != size:
        raise InputError(f"{path} has {size:,} bytes, and its header tells of {at:,}: get it again")
    return Header(text, tensors)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: safetensors, or where there is none, PyTorch's `.bin` files.

    Raises:
        InputError: no checkpoint; a file that cannot be read, or that the index names and is not there; a tensor that
            two files hold, or another than the index says.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: name the folder of a checkpoint")
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        for tensor in read_header(path).tensors if path.suffix == SUFFIX else _unpickled(path):
            if tensor.name in found:
                raise InputError(f"{tensor.name} is in {found[tensor.name].file} and in {path}: keep one of them")
            found[tensor.name] = tensor
    if not found:
        raise InputError(f"{folder} holds no tensor: name the folder of a checkpoint")
    for index in folder.glob("*.index.json"):
        _check(index, _weight_map(index), found)
    return found


def misfit(tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], named: Callable[[str], str]) -> str:
    """What is missing, left over or of another shape than `wanted`, in words; nothing where all fits.

    Tensors are told by the names that they have in their files; `named` gives that of one which is missing.
    """
    problems = {
        "missing": sorted({named(name) for name in wanted.keys() - tensors.keys()}),
        "left over": sorted(tensors[name].name for name in tensors.keys() - wanted.keys()),
        "of another shape": [
            f"{tensors[name].name} ({list(tensors[name].shape)}, not {list(shape)})"
            for name, shape in sorted(wanted.items())
            if name in tensors and tensors[name].shape != shape
        ],
    }
    return "; ".join(f"{what}: {_listed(names)}" for what, names in problems.items() if names)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's tensors: those that the index names, or all there are of a kind.

    Raises:
        InputError: there is none, or one that the index names is not there.
    """
    for pattern in (f"*{SUFFIX}", *_PICKLED):
        paths = sorted(folder.glob(pattern))
        for index in sorted(folder.glob(f"{pattern}.index.json")):
            for name in sorted(set(_weight_map(index).values())):
                if folder / name not in paths:
                    raise InputError(f"{index} names {name}, which is not there: get it, or remove the index")
        if paths:
            return paths
    refuse_other(folder, "model", "delta")
    raise InputError(f"{folder} holds neither safetensors nor .bin files: name the folder of a checkpoint")


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{index} cannot be read ({error!r}): get it again, or remove it") from None


def _check(index: Path, said: Mapping[str, str], found: Mapping[str, Tensor]) -> None:
    files = {tensor.file.name for tensor in found.values()}
    if not files & set(said.values()):  # of the files of another kind
        return
    for name, file in said.items():
        if name not in found or found[name].file.name != file:
            raise InputError(f"{index} says that {file} holds {name}: it does not; get both again")
    if left := sorted(found.keys() - said.keys()):
        raise InputError(f"{found[left[0]].file} holds {left[0]}, of which {index} says nothing: remove the file")


def _unpickled(path: Path) -> list[Tensor]:
    """The tensors of a `.bin` file."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():  # no number is read: storages tell where in the file they begin
        state = _load(path)
    names = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    names |= {torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"}
    names |= {torch.bool: "BOOL"}
    found = []
    for name, value in state.items():
        if value.dtype not in names or value.layout is not torch.strided:
            raise InputError(f"{path}: {name} is of type {value.dtype}, {value.layout}, which is not read: convert it")
        begin, mapped = value.untyped_storage()._checkpoint_offset, None
        if begin is None:
            raise InputError(f"{path} is of PyTorch before 1.6, which is not read: save it again, or get safetensors")
        begin += value.storage_offset() * value.element_size()
        if not value.is_contiguous():  # its numbers lie in another order
            own = _load(path, mmap=True)[name].detach().contiguous()
            begin, mapped = 0, np.asarray(own.reshape(-1).view(torch.uint8).numpy())
        found.append(Tensor(str(name), path, names[value.dtype], tuple(value.shape), begin, mapped))
    return found


def _load(path: Path, **how: Any) -> dict[str, Any]:
    from pickle import UnpicklingError

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True, **how)
    except UnpicklingError as error:
        why = str(error).partition("\n")[0]
        raise InputError(f"{path} holds more than tensors, and is not opened ({why}): get safetensors") from None
    except (RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        why = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read ({why}): get it again, or as safetensors") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path} is no table of tensors: name the folder of a checkpoint")
    return state
