"""One bad record among many."""


class Problem(Exception):
    """Why a record is left out: `reason` is a short key that is counted, `detail` says which file and what."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail[:500]
