"""The journal of a run: what has been settled, one JSON line each, so that a killed run asks nothing twice."""

import json
import threading
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Ledger:
    """Facts by key, on disk as soon as they are recorded. A line that a killed run left half written is dropped."""

    def __init__(self, path: Path) -> None:
        self._known: dict[str, Json] = {}
        self._lock = threading.Lock()
        whole = self._read(path) if path.exists() else 0
        self._stream = path.open("ab")
        self._stream.truncate(whole)

    def _read(self, path: Path) -> int:
        """The length of what can be read."""
        whole = 0
        with path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                try:
                    fact = json.loads(line)
                    self._known[fact["key"]] = fact
                except (ValueError, TypeError, KeyError):
                    break
                whole += len(line)
        return whole

    def get(self, key: str) -> Json | None:
        """What is known of `key`."""
        return self._known.get(key)

    def __len__(self) -> int:
        return len(self._known)

    def record(self, key: str, **fact: Any) -> Json:
        """Settle `key`: what the fact speaks of is on disk already."""
        entry = {"key": key, **fact}
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()
            self._known[key] = entry
        return entry

    def close(self) -> None:
        """Nothing more is recorded."""
        self._stream.close()
