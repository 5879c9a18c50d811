"""A delta gives its target back bit for bit, whatever the types; what does not fit is refused by name."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llavamed.errors import InputError
from llavamed.model.delta import ABOUT, apply, make
from llavamed.model.pieces import header
from llavamed.model.tensors import SIZES, read_header, tensors_of
from llavamed.verify import rehash

TYPES = ("F16", "BF16", "F32", "F64", "I64", "U8")
Spec = dict[str, tuple[str, tuple[int, ...]]]


def write_file(path: Path, spec: Spec, rng: np.random.Generator) -> None:
    """Tensors of random bits: infinities, denormals, -0.0 and NaN of every payload are among them."""
    text = header([(name, dtype, shape) for name, (dtype, shape) in spec.items()])
    size = sum(SIZES[dtype] * int(np.prod(shape, dtype=int)) for dtype, shape in spec.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + rng.bytes(size))


def checkpoint(folder: Path, *files: Spec, seed: int = 0, tied: bool = False) -> Path:
    """A checkpoint in one file or several, with an index."""
    rng, weights = np.random.default_rng(seed), {}
    for number, spec in enumerate(files, 1):
        many = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        name = many if len(files) > 1 else "model.safetensors"
        write_file(folder / name, spec, rng)
        weights |= dict.fromkeys(spec, name)
    if len(files) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}))
    return folder


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


BASE: Spec = {"model.embed_tokens.weight": ("F16", (10, 6)), "model.layers.0.weight": ("F16", (4, 6))}
GROWN: Spec = {
    "language_model.model.embed_tokens.weight": ("F16", (13, 6)),
    "language_model.model.layers.0.weight": ("F16", (4, 6)),
    "model.multi_modal_projector.linear_1.weight": ("F16", (3, 5)),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    types=st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from(TYPES)), min_size=1, max_size=6),
    rows=st.lists(st.integers(0, 9), min_size=12, max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_two_checkpoints(tmp_path_factory, types, rows, seed):
    """Types of either side, rows that were added or dropped, tensors of one side alone."""
    folder = tmp_path_factory.mktemp("delta")
    base = {f"t{n}": (one, (rows[n], 3)) for n, (one, _) in enumerate(types)} | {
        "alone": ("F16", (2,)),
        "both": ("F32", ()),
    }
    target = {f"t{n}": (two, (rows[-n - 1], 3)) for n, (_, two) in enumerate(types)}
    target |= {"new": ("BF16", (3, 1, 2)), "both": ("F32", ())}
    checkpoint(folder / "base", base, seed=seed)
    checkpoint(folder / "target", target, seed=seed + 1)
    make(folder / "base", folder / "target", folder / "delta")
    apply(folder / "base", folder / "delta", folder / "again")
    assert weights(folder / "again") == weights(folder / "target")


def test_a_grown_vocabulary_in_shards(tmp_path):
    """Every file comes back, with its configuration; what the base has is stored as bits that are no floats."""
    base = checkpoint(tmp_path / "base", BASE)
    (base / "LICENSE").write_text("terms")
    first, second = dict(list(GROWN.items())[:1]), dict(list(GROWN.items())[1:])
    target = checkpoint(tmp_path / "target", first, second, seed=1)
    made = make(base, target, tmp_path / "delta")
    assert (made["tensors"], made["whole"]) == (3, 1)
    types = {name: tensor.dtype for name, tensor in tensors_of(tmp_path / "delta").items()}
    assert list(types.values()) == ["U16", "U16", "F16"]
    assert (tmp_path / "delta/base/LICENSE").read_text() == "terms"
    done = apply(base, tmp_path / "delta", tmp_path / "again")
    assert weights(tmp_path / "again") == weights(target)
    assert done["bytes"] == sum(map(len, weights(target).values()))
    for name in ("config.json", "model.safetensors.index.json"):
        assert (tmp_path / "again" / name).read_bytes() == (target / name).read_bytes()
    assert rehash(tmp_path / "delta") == rehash(tmp_path / "again") == []


def test_the_same_weights_are_nothing(tmp_path):
    base = checkpoint(tmp_path / "base", BASE)
    make(base, checkpoint(tmp_path / "target", BASE), tmp_path / "delta")
    path = tmp_path / "delta/model.safetensors"
    assert set(path.read_bytes()[8 + len(read_header(path).text) :]) == {0}


def test_an_output_head_that_was_tied(tmp_path):
    """A base without one has the embedding for it."""
    base = checkpoint(tmp_path / "base", BASE, tied=True)
    target = checkpoint(tmp_path / "target", BASE | {"lm_head.weight": ("F16", (12, 6))}, seed=1)
    assert make(base, target, tmp_path / "delta")["whole"] == 0
    apply(base, tmp_path / "delta", tmp_path / "again")
    assert weights(tmp_path / "again") == weights(target)


def test_an_additive_delta(tmp_path):
    """As the reference applies one: both in the delta's type, a grown vocabulary in its first rows, by PyTorch here."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)

    def random(dtype, *shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    names = {"model.embed_tokens.weight": (10, 6), "model.layers.0.weight": (4, 6), "lm_head.weight": (10, 6)}
    for dtype, of_base in (
        (torch.float16, torch.float16),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.bfloat16),
    ):
        folder = tmp_path / f"{dtype}-{of_base}"
        base = {name: random(of_base, *shape) for name, shape in names.items()}
        target = {name: random(dtype, 13 if shape[0] == 10 else 4, 6) for name, shape in names.items()}
        target["model.mm_projector.weight"] = random(dtype, 5, 3)
        delta = {name: value.clone() for name, value in target.items()}
        for name, value in base.items():
            delta[name][: len(value)] -= value.to(dtype)
        for name, state in (("base", base), ("delta", delta)):
            (folder / name).mkdir(parents=True)
            torch.save(state, folder / name / "pytorch_model.bin")
        (folder / "delta/config.json").write_text("{}")
        for name, value in base.items():
            delta[name][: len(value)] += value.to(dtype)
        apply(folder / "base", folder / "delta", folder / "model")
        from safetensors.torch import load_file

        found = load_file(folder / "model/model.safetensors")
        assert found.keys() == delta.keys()
        for name, value in delta.items():
            assert found[name].dtype == dtype
            assert torch.equal(found[name], value)


def test_what_trainers_leave_beside_weights(tmp_path):
    """Only the files of weights are read."""
    torch = pytest.importorskip("torch")
    torch.save({"t": torch.ones(2, 3)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "training_args.bin").write_bytes(b"a pickle of settings")
    (tensor,) = tensors_of(tmp_path).values()
    assert (tensor.name, tensor.dtype, tensor.shape) == ("t", "F32", (2, 3))


def test_another_base_is_refused(tmp_path):
    """Of other weights, or of another shape; nothing is left."""
    make(checkpoint(tmp_path / "base", BASE), checkpoint(tmp_path / "target", GROWN, seed=1), tmp_path / "delta")
    with pytest.raises(InputError, match=r"model\.embed_tokens\.weight is not that of base"):
        apply(checkpoint(tmp_path / "other", BASE, seed=2), tmp_path / "delta", tmp_path / "again")
    narrow = {name: (dtype, (shape[0], 5)) for name, (dtype, shape) in BASE.items()}
    with pytest.raises(InputError, match=r"has no model\.embed_tokens\.weight of F16"):
        apply(checkpoint(tmp_path / "narrow", narrow), tmp_path / "delta", tmp_path / "again")
    with pytest.raises(InputError, match="no tensor like one"):
        make(checkpoint(tmp_path / "nothing", {"x": ("F16", (1,))}), tmp_path / "target", tmp_path / "delta2")
    assert not (tmp_path / "again").exists() and not (tmp_path / "delta2").exists()


@pytest.mark.parametrize(
    ("of_base", "says"),
    [
        ({"model.layers.0.weight": ("F16", (3, 6))}, r"weight is F16 \[4, 6\], and in .* is F16 \[3, 6\]"),
        ({"model.layers.0.weight": ("I16", (4, 6))}, r"is I16 \[4, 6\]"),
        ({"model.layers.0.bias": ("F16", (4,))}, r"layers\.0\.weight is .* there is no such tensor"),
        ({"model.embed_tokens.weight": ("F16", (10, 5)), "model.layers.0.weight": ("F16", (4, 6))}, r"\[10, 5\]"),
        ({"model.embed_tokens.weight": ("F16", (10, 6)), "h.0.weight": ("F16", (4, 6))}, r"none of its layers \(h\)"),
    ],
)
def test_no_delta_of_a_wrong_base(tmp_path, of_base, says):
    """It would hold what is the true base's whole, and pass it on."""
    base, target = checkpoint(tmp_path / "base", of_base), checkpoint(tmp_path / "target", GROWN, seed=1)
    with pytest.raises(
        InputError, match=rf"base is no base of .*target: .*{says}.*: name the model that it was trained"
    ):
        make(base, target, tmp_path / "delta")
    assert not (tmp_path / "delta").exists()


def test_what_only_one_of_them_has(tmp_path):
    """A vision tower with layers of its own, and what follows from the shape, are no sign of another base."""
    base = BASE | {
        "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", (2,)),
        "model.layers.1.weight": ("F16", (4, 6)),
    }
    target = GROWN | {"vision_tower.encoder.layers.0.weight": ("F16", (2, 2))}
    target["language_model.model.layers.1.self_attn.rotary_emb.inv_freq"] = ("F32", (2,))
    checkpoint(tmp_path / "base", base)
    made = make(tmp_path / "base", checkpoint(tmp_path / "target", target, seed=1), tmp_path / "delta")
    assert (made["tensors"], made["whole"]) == (5, 3)


def test_a_changed_delta_is_refused(tmp_path):
    base = checkpoint(tmp_path / "base", BASE)
    make(base, checkpoint(tmp_path / "target", GROWN, seed=1), tmp_path / "delta")
    path = tmp_path / "delta/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x99")
    with pytest.raises(InputError, match="get the delta again"):
        apply(base, tmp_path / "delta", tmp_path / "again")
    (tmp_path / "delta" / ABOUT).write_text('{"format": 1}')
    with pytest.raises(InputError, match=r"delta\.json cannot be read"):
        apply(base, tmp_path / "delta", tmp_path / "again")
    assert not (tmp_path / "again").exists()


class _Runs:
    """What a pickle can do."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def test_broken_checkpoints(tmp_path, monkeypatch):
    """Each its own error, with the file's name."""
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    base = checkpoint(tmp_path / "base", BASE)
    first, second = dict(list(BASE.items())[:1]), dict(list(BASE.items())[1:])

    def broken(name: str) -> Path:
        return checkpoint(tmp_path / name, first, second, seed=1)

    cut = broken("cut") / "model-00002-of-00002.safetensors"
    cut.write_bytes(cut.read_bytes()[:-3])
    (broken("absent") / "model-00002-of-00002.safetensors").unlink()
    (broken("twice") / "more.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    unsaid = broken("unsaid")
    write_file(unsaid / "more.safetensors", {"x": ("F16", (1,))}, np.random.default_rng(0))
    (tmp_path / "code").mkdir()
    torch.save({"model.embed_tokens.weight": _Runs()}, tmp_path / "code/pytorch_model.bin")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/pytorch_model.bin").write_bytes(pickle.dumps(_Runs()))
    (tmp_path / "empty").mkdir()
    for name, says in {
        "cut": "00002-of-00002.safetensors has",
        "absent": "names model-00002-of-00002.safetensors, which is not there",
        "twice": "is in .* and in",
        "unsaid": "says nothing",
        "code": "holds more than tensors",
        "plain": "pytorch_model.bin",
        "empty": "holds neither",
        "nowhere": "does not exist",
    }.items():
        with pytest.raises(InputError, match=says):
            apply(tmp_path / name, base, tmp_path / "out")
        with pytest.raises(InputError):
            make(base, tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_a_killed_run_goes_on(tmp_path):
    """With the files that it had finished; the result is the same bytes."""
    spec = {f"t{n}": ("F16", (400, 1000)) for n in range(40)}
    parts = [dict(list(spec.items())[n : n + 2]) for n in range(0, 40, 2)]
    base, target = checkpoint(tmp_path / "base", *parts), checkpoint(tmp_path / "target", *parts, seed=1)
    whole = make(base, target, tmp_path / "whole")
    call = [sys.executable, "-m", "llavamed", "delta", "make", "--quiet", "-o", str(tmp_path / "delta")]
    call += ["--base", str(base), "--target", str(target)]
    records = tmp_path / "delta/.job/files"
    run = subprocess.Popen(call)
    while len(list(records.glob("*.json")) if records.exists() else []) < 2 and run.poll() is None:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    finished = {path.stem: (records.parent / "out" / path.stem).stat().st_mtime_ns for path in records.glob("*.json")}
    assert 2 <= len(finished) < len(parts)
    assert make(base, target, tmp_path / "delta")["hash"] == whole["hash"]
    assert {name: (tmp_path / "delta" / name).stat().st_mtime_ns for name in finished} == finished


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/bin/mount").exists(), reason="needs a small disk of its own: root")
def test_a_disk_that_fills(tmp_path):
    """One line that says so, and no model under the final name."""
    base = checkpoint(tmp_path / "base", {"t": ("F16", (1000, 1000))})
    target = checkpoint(tmp_path / "target", {"t": ("F16", (1000, 1000))}, seed=1)
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=False).returncode:
        pytest.skip("no mount here")
    try:
        code = "import shutil; shutil.disk_usage = lambda path: shutil._ntuple_diskusage(9**9, 0, 9**9)\n"
        code += "from llavamed.cli import main; main()"
        call = [sys.executable, "-c", code, "delta", "make", "--quiet"]
        call += ["--base", base, "--target", target, "-o", small / "delta"]
        run = subprocess.run(call, capture_output=True, text=True, check=False)
        assert run.returncode == 2 and "free some space" in run.stderr and run.stderr.count("\n") == 1
        assert [path.name for path in (small / "delta").iterdir()] == [".job"]
    finally:
        subprocess.run(["/bin/umount", small], check=True)
