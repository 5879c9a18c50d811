"""fetch: cache, hash check, and plain errors, with pip replaced by a stub."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from llavamed import fetch
from llavamed.errors import InputError


def wheel(path: Path, members: dict[str, bytes]) -> str:
    """Write a small wheel; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index with one package, and the calls that were made to it."""
    monkeypatch.setenv("LLAVAMED_CACHE", str(tmp_path / "cache"))
    sha256 = wheel(tmp_path / "index" / "demo-1.0-py3-none-any.whl", {"demo/a.txt": b"hello"})
    calls = []

    def pip(command, **_):
        calls.append(command)
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        target = Path(command[command.index("-d") + 1])
        (target / "demo-1.0-py3-none-any.whl").write_bytes((tmp_path / "index/demo-1.0-py3-none-any.whl").read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", pip)
    return sha256, calls


def test_downloads_once_then_reads_the_cache(index):
    sha256, calls = index
    first = fetch.fetch_package("demo", "1.0", sha256)
    assert fetch.fetch_package("demo", "1.0", sha256) == first
    assert len(calls) == 1
    assert fetch.read_member(first, "demo/a.txt") == b"hello"
    assert [p.name for p in first.parent.iterdir()] == [first.name]


def test_never_lets_pip_build_or_install(index):
    sha256, calls = index
    fetch.fetch_package("demo", "1.0", sha256)
    assert {"--only-binary=:all:", "--no-deps"} <= set(calls[0])


def test_a_download_with_another_hash_is_refused_and_not_kept(index, tmp_path):
    with pytest.raises(InputError, match=r"demo-1.0-py3-none-any.whl.*SHA-256"):
        fetch.fetch_package("demo", "1.0", "0" * 64)
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_a_damaged_cache_is_named_with_the_remedy(index):
    sha256, _ = index
    path = fetch.fetch_package("demo", "1.0", sha256)
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"damaged.*delete it and run again"):
        fetch.fetch_package("demo", "1.0", sha256)


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("/usr/bin/python: No module named pip", "pip is missing"),
        ("WARNING: x\nERROR: Could not find a version that satisfies demo==1.0", r"not in .* pip cannot download it"),
        ("", "pip cannot download it"),
    ],
)
def test_no_pip_and_no_network_are_one_line(index, monkeypatch, stderr, message):
    monkeypatch.setattr(fetch.subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1, "", stderr))
    with pytest.raises(InputError, match=message) as error:
        fetch.fetch_package("demo", "1.0", "0" * 64)
    assert "\n" not in str(error.value)


def test_a_missing_member_is_named(index):
    sha256, _ = index
    with pytest.raises(InputError, match=r"demo/b.txt cannot be read"):
        fetch.read_member(fetch.fetch_package("demo", "1.0", sha256), "demo/b.txt")


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("LLAVAMED_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch.cache() == tmp_path / "llavamed" / "packages"
