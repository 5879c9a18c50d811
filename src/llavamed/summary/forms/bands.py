"""Size bands of the European Commission's template of 24 July 2025, and its rules on what is listed."""

import math

# unit -> (below this size, in words); of audio and video: hours
BANDS = {
    "tokens": ((10**9, "Less than 1 billion"), (10**13, "1 billion to 10 trillion"), (None, "More than 10 trillion")),
    "images": ((10**6, "Less than 1 million"), (10**9, "1 million to 1 billion"), (None, "More than 1 billion")),
    "hours": ((10**4, "Less than 10,000"), (10**6, "10,000 to 1 million"), (None, "More than 1 million")),
}
LARGE = 0.03  # a public data set is named if it holds at least this share of a modality's public data
TOP, TOP_SMALL, MOST_SMALL = 0.10, 0.05, 1000  # of the domains; those of a small provider, and at most how many
LISTED = 20  # a table that may be long shows at least so many rows


def band(size: int, unit: str) -> str:
    """The size band of `size` tokens, images or hours."""
    return next(words for limit, words in BANDS[unit] if limit is None or size < limit)


def boxes(size: int, unit: str) -> str:
    """The bands of the unit as boxes, the one of `size` ticked."""
    ticked = band(size, unit)
    return "; ".join(f"{'☒' if words == ticked else '☐'} {words} {unit}" for _, words in BANDS[unit])


def required(names: int, small: bool) -> int:
    """How many of the largest domains must be listed, out of `names`."""
    return min(math.ceil(TOP_SMALL * names), MOST_SMALL) if small else math.ceil(TOP * names)


def share(part: int, whole: int) -> str:
    """A share in per cent, with a digit after the point."""
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"
