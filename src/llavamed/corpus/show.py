"""`llavamed corpus show`: a corpus as tables in the terminal and as a page with its pictures."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup
from rich.columns import Columns
from rich.console import RenderableType

from llavamed import artifact, pages, storage
from llavamed.console import table
from llavamed.corpus.problem import REASONS
from llavamed.corpus.schema import KINDS, SPLITS
from llavamed.pick import pick
from llavamed.storage import Json

PICTURES = 60  # in the gallery
EXCLUDED = 40  # examples of what was left out
FLOW = ("record", "in", "kept", "left out")
UNKNOWN = "not known"
_COLUMNS = ["pair_id", "pmcid", "licence", "year", "language", "modality", "split", "single_plot", "flags"]
FLAGS = {
    "burned_in_text": "text in the picture, as its DICOM file says",
    "burned_in_text_possible": "text in the picture possible",
    "part_missing": "a part of the figure is missing",
}


@dataclass
class Survey:
    """What a corpus holds. The manifest's `counts`, `settings` and identifying tags that were `dropped`; the rest is
    counted in the tables, one record (a figure, or a panel of one) once in each but the flags."""

    counts: Json
    figures: dict[str, Counter[str]] = field(default_factory=dict)  # title -> value -> records
    settings: Json = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Records."""
        return sum(next(iter(self.figures.values())).values())

    @property
    def unit(self) -> str:
        """What a record is."""
        return "panels" if "panels" in self.counts else "figures"


def show(folder: Path, *, page: Path | None = None) -> tuple[list[RenderableType], Path]:
    """Write the page of the corpus in `folder` (to `<folder>.html` if not named) and return tables for the terminal.

    Raises:
        InputError: `folder` is no finished corpus, or the page would lie inside it.
    """
    artifact.require(folder, "corpus")
    target = pages.beside(folder, page, "corpus")
    found = survey(folder)
    flow = pages.table("Kept and left out", FLOW, _flow(found), numeric=(1, 2, 3))
    chosen = pages.table("How it was made", ("setting", "value"), _chosen(found))
    sections = [
        ("What it holds", [pages.row(flow, chosen), *counted(found)]),
        ("Figures", [gallery(folder, PICTURES)]),
        ("Left out", _left_out(folder, found)),
    ]
    subtitle = f"The {found.unit} as they were read. Each is under a licence of its own."
    storage.write_text(target, pages.page(f"Corpus: {found.kept:,} {found.unit}", sections, subtitle))
    return _terminal(found), target


def survey(folder: Path) -> Survey:
    """Count the tables of a corpus, a row group in memory at a time."""
    kinds, licences, years, splits, languages, plots, flags = (Counter[str]() for _ in range(7))
    for row in storage.read_rows(folder, columns=_COLUMNS):
        kinds[kind_of(row)] += 1
        licences[row["licence"] or UNKNOWN] += 1
        years[str(row["year"] or UNKNOWN)] += 1
        splits[row["split"] or UNKNOWN] += 1
        languages[row["language"] or UNKNOWN] += 1
        plots["single" if row["single_plot"] else "compound" if row["single_plot"] is False else UNKNOWN] += 1
        flags.update(FLAGS.get(flag, flag) for flag in row["flags"] or ())
    order = [split for split in (*SPLITS, UNKNOWN) if split in splits]
    figures = {
        "Kinds of image": _ranked(kinds),
        "Licences": _ranked(licences),
        "Years": Counter({year: years[year] for year in sorted(years)}),
        "Splits": Counter({split: splits[split] for split in order}),
        "Languages": _ranked(languages),
        "Single or compound": _ranked(plots),
        **({"Flags": _ranked(flags)} if flags else {}),
    }
    manifest = artifact.read_manifest(folder)
    return Survey(
        manifest.get("counts", {}), figures, _settings(manifest), manifest.get("identifying_tags_dropped") or {}
    )


def _settings(manifest: Json) -> Json:
    """What was chosen, and the SHA-256 of the lists that were obeyed."""
    lists = {name: f"SHA-256 {manifest['request']['inputs'][name]}" for name in ("opt_out", "against")
             if name in manifest.get("request", {}).get("inputs", {})}  # fmt: skip
    return {**manifest.get("settings", {}), **lists}


def kind_of(row: Json) -> str:
    """A figure's kind of image in words: the surest one."""
    kinds = row["modality"] or []
    return KINDS.get(kinds[0]["name"], kinds[0]["name"]) if kinds else UNKNOWN


def counted(found: Survey) -> list[Markup]:
    """Why records were left out, and the kept figures by what is known of them."""
    reasons = [
        pages.bars(f"Left out: {what}, by reason", _meant(count["excluded"]), "reason")
        for what, count in found.counts.items()
        if count["excluded"]
    ]
    charts = {title: pages.bars(title, counts, title.lower()) for title, counts in found.figures.items()}
    more = [charts[title] for title in ("Single or compound", "Flags") if title in charts]
    if found.dropped:
        more.append(pages.bars("Identifying DICOM tags not taken over", _ranked(found.dropped), "tag"))
    small = pages.stack(charts["Licences"], charts["Splits"], charts["Languages"])
    about = [pages.row(charts["Kinds of image"], charts["Years"], small), pages.row(*more)]
    return [pages.row(*reasons), *about] if reasons else about


def _meant(excluded: dict[str, int]) -> Counter[str]:
    """The reasons with what they mean, the most frequent first."""
    return Counter({f"{key}: {REASONS[key]}" if key in REASONS else key: n for key, n in _ranked(excluded).items()})


def _chosen(found: Survey) -> list[tuple[str, str]]:
    """The settings that are in force."""
    said = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in
            found.settings.items() if value not in (None, [], False, 0)}  # fmt: skip
    return [(name.replace("_", "-"), "yes" if value is True else str(value)) for name, value in said.items()]


def gallery(folder: Path, n: int) -> Markup:
    """Up to `n` figures, spread over the kinds of image, with caption, mentions and licence."""
    rows = pick(storage.tables(folder), n, kind_of, ["modality"])
    return pages.gallery(_card(row) for row in rows)


def _card(row: Json) -> pages.Card:
    kind, label, caption = kind_of(row), (row["fig_label"] or "Figure").rstrip(".:"), row["fig_caption"]
    mentions = row["in_text_mention"] or []
    source = (row["journal"], str(row["year"] or ""), row["pmcid"] or row["pmid"] or "", row["doi"])
    cited = "Cited in the text" + (f", {len(mentions)} times" if len(mentions) > 2 else "")
    lines = [("" if n else cited, words) for n, words in enumerate(mentions[:2])]
    if row["licence"] == "other" and row["licence_url"]:
        lines.append(("Licence", row["licence_url"]))
    lines.append(("From", " · ".join(filter(None, (row["title"], *source)))))
    return pages.Card(
        image=(row["image"] or {}).get("bytes"),
        caption=f"{label}. {caption}" if caption else f"{label} (no caption)",
        lines=lines,
        tags=[kind, row["licence"] or "licence not known", row["split"] or UNKNOWN],
        alt=f"{kind}: {label} of {row['pmcid'] or row['pair_id']}",
        lang=row["language"] or "",
    )


def _left_out(folder: Path, found: Survey) -> list[Markup]:
    files = storage.tables(folder, "excluded")
    total = sum(sum(count["excluded"].values()) for count in found.counts.values())
    if not files or not total:
        return [pages.text("Nothing was left out.")]
    rows = pick(files, EXCLUDED, _reason, ["reason"], key=("source", "pair_id", "fig_label", "detail"))
    shown = [
        (
            row["reason"],
            " ".join(filter(None, (row["pmcid"] or row["source"], row["fig_label"]))),
            row["detail"] or "",
            _start(row["fig_caption"] or row["title"] or ""),
        )
        for row in rows
    ]
    words = (
        f"{len(shown)} of {total:,} records that were left out; the corpus keeps all of them, in its folder excluded."
    )
    return [pages.note(words), pages.table("Examples", ["reason", "record", "detail", "caption or title"], shown)]


def _reason(row: Json) -> str:
    return str(row["reason"])


def _start(words: str, length: int = 140) -> str:
    return words if len(words) <= length else words[:length].rsplit(" ", 1)[0] + " …"


def _ranked(counts: dict[str, int]) -> Counter[str]:
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _flow(found: Survey) -> list[tuple[str, int, int, int]]:
    return [(what, count["in"], count["kept"], sum(count["excluded"].values())) for what, count in found.counts.items()]


def _terminal(found: Survey) -> list[RenderableType]:
    flow = table("Kept and left out", FLOW, _flow(found))
    reasons = [
        table(
            f"Left out: {what}",
            ("reason", "number", "meaning"),
            [(key, n, REASONS.get(key, "")) for key, n in _ranked(count["excluded"]).items()],
        )
        for what, count in found.counts.items()
        if count["excluded"]
    ]
    kept = [table(title, ("", found.unit), counts.items()) for title, counts in found.figures.items()]
    return [flow, *reasons, Columns(kept, padding=(0, 4))]
