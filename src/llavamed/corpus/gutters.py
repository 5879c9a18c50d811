"""The panels of a picture, from the strips of one colour between them and the seams where two photographs meet.

A recursive X-Y cut, after Nagy and Seth (1984), "Hierarchical representation of optically scanned documents".
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]

MAX_SIDE = 1024  # pixels: a longer picture is looked at in this size
MIN_PANEL = 0.1  # of the picture's width and of its height
MIN_SHARE = 0.1  # of the largest panel's area
MAX_ASPECT = 6  # a longer piece is a legend, a scale or a line of text
FLAT = 24  # grey levels that a gutter may vary by: JPEG rings beside sharp edges
PAPER = 240  # grey level from which a gutter is paper
STEP = 16  # grey levels between what is seen and what is not
STRAIGHT = 0.6  # of a side that is seen as a straight line
DENSE = 0.4  # of a photograph's pixels that are not of the gutter's colour
SEAM = 2  # times that the grey level changes more at a seam than at 95 % of all lines
LIT, MIN_LIT = 40, 0.3  # grey level of what is not dark background, and its least share of a seam
MET = 0.75  # of the lit part of a seam, along which the two sides differ
FILLED = 0.9  # of the picture, where photographs meet and no margin is left
PLAIN = 0.8  # of a margin's pixels that are of about one colour
RIM = 3  # pixels that an edge may be blurred over
DEPTH = 6


class Box(NamedTuple):
    """Pixels: left, top, right, bottom; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    def part(self, axis: int, start: int, stop: int) -> "Box":
        """Its rows (axis 0) or columns (axis 1) `start` to `stop`, counted from its own."""
        if axis == 0:
            return self._replace(top=self.top + start, bottom=self.top + stop)
        return self._replace(left=self.left + start, right=self.left + stop)

    @property
    def area(self) -> int:
        """In pixels."""
        return (self.right - self.left) * (self.bottom - self.top)

    @property
    def long(self) -> bool:
        """Whether it is longer than a picture."""
        sides = sorted((self.right - self.left, self.bottom - self.top))
        return sides[1] > MAX_ASPECT * sides[0]


class _Core(NamedTuple):
    """The picture within a panel, without its letter, title and axis labels. `sure`: 2 where a photograph with straight
    sides or a plot with axes, 1 where anything else that fills its box, 0 where thin lines or words.
    """

    box: Box
    sure: int


class _Cut(NamedTuple):
    """The picture that is cut, the least height and width of a panel, and from which grey level a gutter needs no
    straight edges along it.
    """

    pixels: Grey
    least: tuple[float, float]
    bare: int

    def may_hold(self, box: Box) -> bool:
        """Whether `box` is large enough for a panel."""
        return box.bottom - box.top >= self.least[0] and box.right - box.left >= self.least[1]


def grey_of(image: Image.Image) -> Grey:
    """(height, width) grey levels of `image`, at most MAX_SIDE pixels long."""
    scale = max(1.0, max(image.size) / MAX_SIDE)
    size = max(1, round(image.width / scale)), max(1, round(image.height / scale))
    grey = image.convert("L")
    return np.asarray(grey if grey.size == size else grey.resize(size, Image.Resampling.BOX))


def on_paper(pixels: Grey) -> bool:
    """Whether most of a picture is bare paper: its gutters are seen, while photographs may meet without one."""
    return bool((pixels >= PAPER).mean() >= 0.5)


def panel_boxes(pixels: Grey, named: int = 0) -> list[Box]:
    """The boxes of the panels of a picture, (height, width) grey levels; disjoint, rows first.

    None where it looks like one picture. Where its caption tells of `named` panels, pieces and gutters that prove
    nothing of themselves count too, as long as they give as many.
    """
    height, width = pixels.shape
    whole = Box(0, 0, width, height)
    cut = _Cut(pixels, (max(8, MIN_PANEL * height), max(8, MIN_PANEL * width)), PAPER)
    cores = _of_size(_cores(cut, whole, 255, DEPTH))
    if len(cores) == 1 and cores[0].sure == 2 and cores[0].box.area >= FILLED * whole.area:
        cores = [_Core(box, 2) for box in _at_seams(cut, cores[0].box)]
    if named > 1 and len(cores) != named:
        freely = _of_size(_cores(cut._replace(bare=0), whole, 255, DEPTH))
        cores = freely if len(freely) == named else cores
    if len(cores) != named:
        cores = [core for core in cores if core.sure] if any(core.sure == 2 for core in cores) else []
    return _in_order(_grown(pixels, whole, [core.box for core in cores])) if len(cores) > 1 else []


def _of_size(cores: list[_Core]) -> list[_Core]:
    largest = max((core.box.area for core in cores), default=0)
    return [core for core in cores if core.box.area >= MIN_SHARE * largest]


def _view(pixels: Grey, box: Box) -> Grey:
    return pixels[box.top : box.bottom, box.left : box.right]


def _cores(cut: _Cut, box: Box, colour: int, depth: int) -> list[_Core]:
    """The pictures within `box`, which lies between gutters of grey level `colour`."""
    if not cut.may_hold(box) or not cut.may_hold(box := _trimmed(cut.pixels, box, colour)) or box.long:
        return []
    view = _view(cut.pixels, box)
    unsure: list[_Core] = []
    for axis in (0, 1) if depth else ():
        parts = _parts(view, axis, colour, cut.bare)
        if parts != [(0, view.shape[axis], colour)]:
            found = [_cores(cut, box.part(axis, first, last), grey, depth - 1) for first, last, grey in parts]
            cores = [core for some in found for core in some]
            if any(core.sure for core in cores):
                return cores
            unsure = unsure or cores
    sure = _sure(view, colour)
    return [_Core(box, sure)] if sure or not unsure else unsure


def _sure(view: Grey, colour: int) -> int:
    """How sure `view`, between gutters of grey level `colour`, is a picture (see `_Core`)."""
    seen = np.abs(view.astype(np.int16) - colour) > STEP
    if seen.mean() >= DENSE:
        sides = (seen[:RIM], seen[-RIM:], seen[:, :RIM].T, seen[:, -RIM:].T)
        return 2 if sum(side.any(axis=0).mean() >= STRAIGHT for side in sides) >= 2 else 1
    return 2 if min(seen.mean(axis=0).max(), seen.mean(axis=1).max()) >= STRAIGHT else 0


def _flat(view: Grey, axis: int) -> tuple[NDArray[np.bool_], Grey]:
    """Which rows (axis 0) or columns (axis 1) are of one colour, and each one's lowest grey level."""
    low, high = view.min(axis=1 - axis), view.max(axis=1 - axis)
    return high - low <= FLAT, low


def _trimmed(pixels: Grey, box: Box, colour: int) -> Box:
    """`box` without the rows and columns of grey level `colour` at its sides."""
    for axis in (0, 1):
        flat, low = _flat(_view(pixels, box), axis)
        seen = np.flatnonzero(~flat | (np.abs(low.astype(int) - colour) > FLAT))
        if not seen.size:
            return box._replace(right=box.left, bottom=box.top)
        box = box.part(axis, int(seen[0]), int(seen[-1]) + 1)
    return box


def _strips(view: Grey, axis: int) -> list[tuple[int, int, int]]:
    """First and last (outside) line of every strip of one colour across `view`, and its grey level."""
    flat, low = _flat(view, axis)
    same = flat[1:] & flat[:-1] & (np.abs(np.diff(low.astype(int))) <= FLAT)
    starts = np.flatnonzero(flat & ~np.concatenate(([False], same)))
    stops = np.flatnonzero(flat & ~np.concatenate((same, [False]))) + 1
    return [(int(a), int(b), int(np.median(low[a:b]))) for a, b in zip(starts, stops, strict=True)]


def _parts(view: Grey, axis: int, colour: int, bare: int) -> list[tuple[int, int, int]]:
    """What lies between the gutters across `view`: first and last line, and the grey level of the gutter before it."""
    parts = []
    start = 0
    for first, last, grey in _strips(view, axis):
        if grey >= bare or _edged(view, axis, first, last, grey):
            parts.append((start, first, colour))
            start, colour = last, grey
    parts.append((start, view.shape[axis], colour))
    return [(first, last, grey) for first, last, grey in parts if first < last]


def _edged(view: Grey, axis: int, first: int, last: int, grey: int) -> bool:
    """Whether straight edges stand along the gutter from `first` to `last`, where it does not end the picture."""
    lines = view if axis == 0 else view.T
    sides = lines[max(0, first - RIM) : first], lines[last : last + RIM]
    seen = [np.abs(side.astype(int) - grey) > STEP for side in sides if len(side)]
    return all(side.any(axis=0).mean() >= STRAIGHT for side in seen)


def _at_seams(cut: _Cut, box: Box) -> list[Box]:
    """`box` cut where two photographs meet without a gutter."""
    view = _view(cut.pixels, box)
    for axis in (0, 1):
        lines = (view if axis == 0 else view.T)[:, ::4].astype(np.int16)
        margin = int(2 * cut.least[axis])
        if len(lines) <= 2 * margin:  # a ruler beside a specimen is no panel
            continue
        steps = np.abs(np.diff(lines, axis=0)).mean(axis=1)
        seam = margin + int(steps[margin : len(lines) - margin].argmax()) + 1
        before, after = lines[seam - 5 : seam - 1].mean(axis=0), lines[seam + 2 : seam + 6].mean(axis=0)
        halves = box.part(axis, 0, seam), box.part(axis, seam, len(lines))
        if (
            steps[seam - 1] >= SEAM * np.quantile(steps, 0.95)
            # two dark margins that meet differ nowhere
            and (lit := np.maximum(before, after) > LIT).mean() >= MIN_LIT
            and (np.abs(before - after) > STEP)[lit].mean() >= MET
            and all(_plain(_view(cut.pixels, half)) < PLAIN and not half.long for half in halves)
        ):
            return [b for half in halves for b in _at_seams(cut, half)]
    return [box]


def _plain(view: Grey) -> float:
    """The share of `view` that is of about one colour."""
    return float(np.bincount(view.ravel() >> 5).max() / view.size)


def _grown(pixels: Grey, box: Box, cores: list[Box]) -> list[Box]:
    """`cores`, each with the letter, title and labels around it: `box`, cut at the widest gutters between them."""
    if len(cores) == 1:
        return [_trimmed(pixels, box, 255)]
    best = None
    for axis in (0, 1):
        starts = sorted(core[1 - axis] - box[1 - axis] for core in cores)
        stops = sorted(core[3 - axis] - box[1 - axis] for core in cores)
        gaps = [(stop, start) for stop, start in zip(stops, starts[1:], strict=False) if stop <= start]
        for stop, start in gaps:
            for first, last, _ in _strips(_view(pixels, box.part(axis, stop, start)), axis):
                if best is None or last - first > best[0]:
                    best = last - first, axis, stop + first, stop + last
    if best is None:
        return cores
    _, axis, first, last = best
    near, far = box.part(axis, 0, first), box.part(axis, last, box[3 - axis] - box[1 - axis])
    first += box[1 - axis]
    return [
        *_grown(pixels, near, [core for core in cores if core[3 - axis] <= first]),
        *_grown(pixels, far, [core for core in cores if core[3 - axis] > first]),
    ]


def _in_order(boxes: list[Box]) -> list[Box]:
    """`boxes` as one reads them: row by row, in a row from the left, in a column of it from the top."""
    for axis in (0, 1):
        groups: list[list[Box]] = []
        for box in sorted(boxes, key=lambda box: box[1 - axis]):
            near = next((group for group in groups if _beside(box, group[0], axis)), None)
            if near is None:
                groups.append([box])
            else:
                near.append(box)
        if len(groups) > 1:
            return [box for group in groups for box in _in_order(group)]
    return sorted(boxes, key=lambda box: (box.top, box.left))


def _beside(one: Box, other: Box, axis: int) -> bool:
    """Whether two boxes share rows (axis 0) or columns (axis 1): half of the smaller one's."""
    low, high = 1 - axis, 3 - axis
    shared = min(one[high], other[high]) - max(one[low], other[low])
    return shared >= 0.5 * min(one[high] - one[low], other[high] - other[low])
