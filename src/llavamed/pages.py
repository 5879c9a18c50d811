"""The HTML that every step's page is made of: one style, self-contained, safe to open and to pass on.

Text is escaped, pictures are embedded thumbnails, charts are SVG, and a content security policy forbids scripts and
every outside request. The functions return Markup for `page`. The same arguments give the same bytes.
"""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, ImageOps

from llavamed import __version__
from llavamed.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
SIDE = 320  # pixels of a thumbnail
QUALITY = 80  # of its JPEG
POINTS = 400  # of a drawn curve; longer ones are drawn through the means of equal stretches
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SHAPES = (
    "M0-5A5 5 0 1 1 0 5A5 5 0 1 1 0-5z",  # circle
    "M-4.4-4.4H4.4V4.4H-4.4z",  # square
    "M0-6L6 0 0 6-6 0z",  # diamond
    "M0-5.5L5.5 4.5H-5.5z",  # triangle
)


@dataclass(frozen=True)
class Card:
    """A picture with its text.

    `lines`: (what, text); "": what the line above is. `tags`: short words; "right" and "wrong" get their colours.
    `lang`: language of caption and lines, if known. `long`: text beyond so many characters is folded away.
    """

    image: bytes | None
    caption: str = ""
    lines: Sequence[tuple[str, str]] = ()
    tags: Sequence[str] = ()
    alt: str = ""
    lang: str = ""
    long: int = 260


class Picture(NamedTuple):
    """A thumbnail as a data: URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def page(title: str, sections: Sequence[tuple[str, Sequence[Markup]]], subtitle: str = "", refresh: int = 0) -> str:
    """A whole page. `sections`: (heading, parts). `refresh`: seconds after which a browser loads it anew; 0: never."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment().get_template("page.html").render(
        title=title, subtitle=subtitle, sections=sections, version=__version__, refresh=refresh,
        style=Markup(style), style_hash=f"sha256-{digest}",  # noqa: S704 - our own file
    )  # fmt: skip


def beside(folder: Path, target: Path | None, what: str) -> Path:
    """Where the page of an artifact goes: `target`, or else `<folder>.html` beside it. `what`: a word for the artifact.

    Raises:
        InputError: it would lie inside the folder.
    """
    place = folder.resolve()
    target = target or place.with_name(f"{place.name}.html")
    if target.is_dir() or target.resolve().is_relative_to(place):
        raise InputError(f"{target}: name a file outside the {what} with -o, such as {place.name}.html")
    return target


def text(words: str) -> Markup:
    """A paragraph."""
    return Markup("<p>{}</p>").format(words)


def note(words: str) -> Markup:
    """A paragraph beside the matter: how to read a chart, what is not there."""
    return Markup('<p class="note">{}</p>').format(words)


def heading(words: str) -> Markup:
    """A heading inside a section."""
    return Markup("<h3>{}</h3>").format(words)


def row(*parts: Markup) -> Markup:
    """Parts side by side where there is room."""
    return Markup('<div class="row">{}</div>').format(Markup("").join(parts))


def stack(*parts: Markup) -> Markup:
    """Parts one below the other, as one part of a row."""
    return Markup('<div class="stack">{}</div>').format(Markup("").join(parts))


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence[Any]], numeric: Iterable[int] = ()) -> Markup:
    """A table. `numeric`: the columns, from 0, that hold numbers."""
    shown = [[f"{cell:,}" if type(cell) is int else cell for cell in cells] for cells in rows]
    return _part("table", title, headers, shown, set(numeric))


def bars(title: str, counts: Mapping[str, int], head: str = "value") -> Markup:
    """Counts as bars, with number and share of the sum, in the order given. `head`: what a label is."""
    total, most = sum(counts.values()), max(counts.values(), default=0)
    rows = [
        (label, f"{n:,}", per_cent(n / total if total else 0), _number(100 * n / most if most else 0))
        for label, n in counts.items()
    ]
    return _part("bars", title, head, rows) if rows else note(f"{title}: none.")


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str) -> Markup:
    """Curves of (x, y) points on common axes; points that are not finite are left out. At most four series.

    Where y is very small or large, its axis counts a power of ten, which stands beside `y_label`.
    """
    drawn = {
        name: _thin([(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)])
        for name, points in series.items()
    }
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return note(f"{title}: nothing to draw.")
    xs, ys = ([point[axis] for points in drawn.values() for point in points] for axis in (0, 1))
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))
    power = _power(y_ticks)
    unit = f" (10{str(power).translate(RAISED)})" if power else ""
    left, right, low, high = x_ticks[0], max(xs), y_ticks[0], y_ticks[-1]
    paths = [
        (name, " ".join(f"{_share(x, left, right, 1000)},{_share(y, high, low, 1000)}" for x, y in points))
        for name, points in drawn.items()
    ]
    said = "; ".join(f"{name} from {points[0][1]:.3g} to {points[-1][1]:.3g}" for name, points in drawn.items())
    return _part(
        "lines", title, f"{title}. {y_label} against {x_label}: {said}", x_label, y_label + unit,
        [(text, _share(x, left, right)) for text, x in zip(_labels(x_ticks), x_ticks, strict=True) if x <= right],
        [(text, _share(y, high, low)) for text, y in zip(_labels(y_ticks, power), y_ticks, strict=True)], paths,
    )  # fmt: skip


def with_mean(points: Sequence[tuple[float, float]]) -> dict[str, Sequence[tuple[float, float]]]:
    """A curve by step, and its running mean over a 25th of the steps where these are many."""
    width = len(points) // 25
    if width < 2:
        return {"each step": points}
    total, mean = 0.0, []
    for n, (step, value) in enumerate(points):
        total += value - (points[n - width][1] if n >= width else 0)
        if n >= width - 1:
            mean.append((step - (width - 1) / 2, total / width))  # at the middle of its steps
    return {f"mean of {width} steps": mean, "each step": points}


def intervals(title: str, groups: Mapping[str, Mapping[str, Sequence[float] | None]], head: str = "series") -> Markup:
    """Dots with whiskers: group -> series -> [value, low, high], all from 0 to 100. A series that is None is left out.

    At most four series; each keeps its colour and shape through all groups.
    """
    names = dict.fromkeys(name for group in groups.values() for name in group)
    marks = {name: {"n": n % len(SHAPES) + 1, "path": SHAPES[n % len(SHAPES)]} for n, name in enumerate(names)}
    shown = [(group, [(name, *value) for name, value in rows.items() if value]) for group, rows in groups.items()]
    shown = [(group, rows) for group, rows in shown if rows]
    return _part("intervals", title, head, shown, marks) if shown else note(f"{title}: none.")


def gallery(cards: Iterable[Card]) -> Markup:
    """Pictures with their text, as a grid of cards."""
    shown = [(card, thumbnail(card.image) if card.image else None) for card in cards]
    return _part("gallery", shown) if shown else note("No pictures.")


def thumbnail(data: bytes, side: int = SIDE) -> Picture | None:
    """A JPEG of at most `side` pixels a side; None for a picture that cannot be read."""
    try:
        with Image.open(BytesIO(data)) as opened:
            opened.draft("RGB", (side, side))  # a large JPEG is decoded small
            image = ImageOps.exif_transpose(opened)
            if image.mode not in ("L", "RGB"):
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            out = BytesIO()
            image.save(out, "JPEG", quality=QUALITY, optimize=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return Picture("data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode(), *image.size)


@cache
def environment() -> Environment:
    """The templates: all text that is put into them is escaped, for HTML and for XML."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters["fold"] = _fold
    return found


def _part(name: str, *values: Any) -> Markup:
    return macro("parts.html", name, *values)


def macro(template: str, name: str, *values: Any) -> Markup:
    """What a macro of one of the templates makes of `values`."""
    made = getattr(environment().get_template(template).module, name)(*values)
    return Markup(made)  # noqa: S704 - the template has escaped what it was given


def _fold(words: str, long: int) -> tuple[str, str]:
    """The text in two: what is shown and what is folded away, cut between words. A short rest is not worth a fold."""
    if len(words) <= long * 1.25:
        return words, ""
    cut = words.rfind(" ", long // 2, long)
    cut = long if cut < 0 else cut
    return words[:cut], words[cut:].lstrip()


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most POINTS points: the means of equal stretches."""
    if len(points) <= POINTS:
        return points
    edges = [len(points) * n // POINTS for n in range(POINTS + 1)]
    parts = [points[start:end] for start, end in pairwise(edges)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, some `about` of them."""
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1e-300):  # one value, whatever its size
        spread = size / 2 if size > 1e-300 else 0.5
        low, high = low - spread, low + spread
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, last + 1)]


def _share(value: float, start: float, end: float, whole: float = 100) -> str:
    """Where `value` lies on the way from `start` to `end`, of `whole`."""
    return _number(whole * (value - start) / (end - start) if end != start else whole / 2)


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")  # + 0.0: no minus zero


def _power(ticks: Sequence[float]) -> int:
    """The power of ten to count ticks in; 0 for those that are short as they are."""
    power = math.floor(math.log10(max(map(abs, ticks))))
    return power if power < -2 or power > 4 else 0


def _labels(ticks: Sequence[float], power: int = 0) -> list[str]:
    """Ticks in words, in units of a power of ten, all with as many decimals."""
    counted = [Decimal(repr(tick)).scaleb(-power).normalize() for tick in ticks]
    decimals = max(0, *(-int(tick.as_tuple().exponent) for tick in counted))
    return [f"{tick + 0:,.{decimals}f}" for tick in counted]


def per_cent(share: float) -> str:
    """A share in words that do not round something to nothing."""
    per_cent = 100 * share
    return "<0.1 %" if 0 < per_cent < 0.1 else f"{per_cent:.1f} %" if 0 < per_cent < 10 else f"{per_cent:.0f} %"
