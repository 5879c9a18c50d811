"""Tensors that are made as they are read are what PyTorch makes of the whole, in whichever pieces they are read."""

from contextlib import ExitStack

import numpy as np
import pytest

from llavamed.errors import InputError

torch = pytest.importorskip("torch")
from llavamed.model import computed  # noqa: E402
from llavamed.model.tensors import SIZES, tensors_of  # noqa: E402

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def saved(folder, **weights):
    folder.mkdir(exist_ok=True)
    torch.save(weights, folder / "pytorch_model.bin")
    return tensors_of(folder)


def by_pieces(tensor, some):
    """All of it, so many numbers at once."""
    room, parts = np.empty(8 * some, np.uint8), []
    with ExitStack() as stack:
        for first in range(0, tensor.count, some):
            last = min(first + some, tensor.count)
            piece = tensor.read(first, last, lambda path: stack.enter_context(path.open("rb")), room)
            parts.append(np.array(piece))
            assert len(piece) == (last - first) * SIZES[tensor.dtype]
    return torch.from_numpy(np.concatenate(parts)).view(TYPES[tensor.dtype]).reshape(tensor.shape)


@pytest.mark.parametrize("some", [1, 5, 7, 1000])
@pytest.mark.parametrize("dtype", TYPES)
def test_types_rows_and_the_identity(dtype, some, tmp_path):
    known = torch.randn(9, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    tensor = computed.typed(saved(tmp_path, known=known)["known"], dtype)
    assert torch.equal(by_pieces(tensor, some), known.to(TYPES[dtype]))
    rows = by_pieces(computed.grown(tensor, 12), some)
    assert torch.equal(rows[:9], known.to(TYPES[dtype]))
    mean = known.to(TYPES[dtype]).double().mean(0)
    assert torch.allclose(rows[9:].double(), mean.expand(3, -1), rtol=2**-7, atol=0)
    assert computed.grown(tensor, 9) is tensor
    assert torch.equal(by_pieces(computed.identity("one", 6, dtype), some), torch.eye(6, dtype=TYPES[dtype]))


def test_where_pytorch_keeps_a_tensor(tmp_path):
    """One that begins within another's numbers, one whose numbers lie in another order, half precision, none's."""
    table = torch.arange(60.0).reshape(6, 10)
    weights = {"whole": table, "some": table[2:4], "turned": table.T, "columns": table[:, 2:5]}
    weights |= {"half": table.half(), "grad": torch.nn.Parameter(table + 1), "one": torch.tensor(3.0)}
    found = saved(tmp_path / "new", **weights)
    assert all(torch.equal(found[name].load(), weight.detach()) for name, weight in weights.items())
    assert [name for name, tensor in found.items() if tensor.mapped is not None] == ["turned", "columns"]
    torch.save(weights, tmp_path / "new/pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"before 1\.6"):
        tensors_of(tmp_path / "new")
    with pytest.raises(InputError, match="sparse_coo, which is not read"):
        saved(tmp_path / "new", one=torch.ones(2).to_sparse())
    with pytest.raises(InputError, match="ids is of type I64, which is no weight"):
        computed.typed(saved(tmp_path / "new", ids=torch.arange(3))["ids"], "F32")
