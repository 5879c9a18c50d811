"""One bad record among many."""


def printable(name: str) -> str:
    """`name` as UTF-8 can hold it: file names may have bytes that are none."""
    return name.encode("utf-8", "replace").decode()


class Problem(Exception):
    """Why a record is left out: `reason` is a short key that is counted, `detail` says which file and what."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = printable(detail)[:500]
