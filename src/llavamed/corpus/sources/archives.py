"""Tar archives, packed or not, read where they stand: nothing is unpacked to disk, no link followed."""

import bz2
import gzip
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

from llavamed.corpus.problem import Problem

_OPEN: dict[str, Any] = {"gz": lambda file: gzip.GzipFile(fileobj=file), "bz2": bz2.BZ2File, "xz": lzma.LZMAFile}
_PACKED = {".tar.gz": "gz", ".tgz": "gz", ".tar.bz2": "bz2", ".tbz2": "bz2", ".tar.xz": "xz", ".txz": "xz"}
SUFFIXES = (".tar", *_PACKED)
_SUFFIX = re.compile(rf"(?i)({'|'.join(map(re.escape, SUFFIXES))})$")
BROKEN = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, OverflowError)
MAX_UNPACKED = 2_000_000_000  # bytes of one packed archive
_SMALL, _RATIO = 100_000_000, 50  # one that grows more than _RATIO times, beyond _SMALL bytes, is a bomb
_EXTENDED, _LONGEST = (b"x", b"g", b"X", b"L", b"K"), 1_000_000  # headers with long names and more, bytes in one


def is_archive(name: str) -> bool:
    """Whether a file is called as tar archives are."""
    return _SUFFIX.search(name) is not None


def without_suffix(name: str) -> str:
    """An archive's name without `.tar.gz` or what it ends in."""
    return _SUFFIX.sub("", name)


def members(path: Path, begin: int = 0, end: int | None = None) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """(archive, member) for those whose headers stand from the byte `begin` to `end`, both of the unpacked archive.

    Raises:
        Problem: archive_broken: no header where one must be, or it leads back; archive_too_large.
        What `BROKEN` lists: the archive cannot be read to its end.
    """
    packed = _PACKED.get(path.name.lower()[len(without_suffix(path.name)) :])
    with path.open("rb") as file:
        stream: Any = _Unpacked(file, _OPEN[packed]) if packed else file
        stream.seek(begin)
        offset = -1
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                if end is not None and member.offset >= end:
                    return
                if member.size < 0 or member.offset <= offset:
                    raise Problem("archive_broken", f"{member.name}: a header that leads back")
                offset = member.offset
                yield tar, member
                if end is not None and offset + 1 >= end:
                    return
            stream.seek(tar.offset)
        while data := stream.read(1 << 20):  # to the end, where the checksum is
            if data.count(0) < len(data):  # tarfile stops without a word
                raise Problem("archive_broken", f"no header at byte {tar.offset:,}, but more behind it")


class _Header(tarfile.TarInfo):
    """Refuses headers that only serve to be large, before they are read."""

    @classmethod
    def frombuf(cls, *args: Any, **named: Any) -> Self:
        """The header in a block."""
        header = super().frombuf(*args, **named)
        if header.type in _EXTENDED and header.size > _LONGEST:
            raise Problem("archive_too_large", f"a header of {header.size:,} bytes")
        return header


class _Unpacked:
    """What a file packs, for `tarfile`: it seeks forward, and a header's length back. Raises Problem: it never ends."""

    def __init__(self, file: BinaryIO, unpack: Any) -> None:
        self.file = unpack(file)
        self.limit = min(MAX_UNPACKED, max(_SMALL, _RATIO * os.fstat(file.fileno()).st_size))
        self.place = self.end = 0
        self.tail = b""

    def tell(self) -> int:
        """The byte that is read next."""
        return self.place

    def seek(self, place: int) -> int:
        """Go to a byte."""
        while self.end < place and self._more(min(1 << 20, place - self.end)):
            pass
        self.place = place
        return place

    def read(self, size: int) -> bytes:
        """The next bytes."""
        behind = self.end - self.place
        if behind < 0:
            return b""
        if behind > len(self.tail):
            raise OSError("seek too far back")
        data = self.tail[len(self.tail) - behind :][:size]
        data += self._more(size - len(data)) if size > len(data) else b""
        self.place += len(data)
        return data

    def _more(self, size: int) -> bytes:
        data: bytes = self.file.read(size)
        self.end += len(data)
        if self.end > self.limit:
            raise Problem("archive_too_large", f"over {self.limit:,} bytes unpacked: unpack it to a .tar first")
        self.tail = (self.tail + data[-2 * tarfile.BLOCKSIZE :])[-2 * tarfile.BLOCKSIZE :]
        return data
