"""The journal of a run: what was paid for, one JSON line each, so that a killed run asks nothing twice."""

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Journal:
    """Facts by their "key", on disk before `record` returns. Only their places are in memory.

    A line that a killed run left half written is cut off; any other that cannot be read counts as not there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._places: dict[str, int] = {}  # key -> first byte << 32 | length: half of what a pair takes
        self._stream = path.open("a+b")
        self._end = self._read()
        self._stream.truncate(self._end)
        self._waiting: list[tuple[str, bytes]] = []
        self._lock = asyncio.Lock()

    def _read(self) -> int:
        """The length of the whole lines."""
        end = 0
        self._stream.seek(0)
        for line in self._stream:
            if not line.endswith(b"\n"):
                break
            with contextlib.suppress(ValueError, TypeError, KeyError):
                self._places[json.loads(line)["key"]] = end << 32 | len(line)
            end += len(line)
        return end

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Json | None:
        """The fact with that key, read from disk."""
        place = self._places.get(key)
        if place is None:
            return None
        fact: Json = json.loads(os.pread(self._stream.fileno(), place & 0xFFFFFFFF, place >> 32))
        return fact

    async def record(self, *facts: Json) -> None:
        """Write `facts`, each with its "key", and return when they are on disk. Whoever waits is written at once."""
        for fact in facts:
            line = json.dumps(fact, ensure_ascii=True, sort_keys=True).encode() + b"\n"
            self._waiting.append((fact["key"], line))
        async with self._lock:
            batch, self._waiting = self._waiting, []
            if batch:  # else another one has written ours with its own
                await asyncio.to_thread(self._write, b"".join(line for _, line in batch))
                for key, line in batch:
                    self._places[key] = self._end << 32 | len(line)
                    self._end += len(line)

    def _write(self, lines: bytes) -> None:
        self._stream.write(lines)
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Nothing more is recorded."""
        self._stream.close()
