"""`llavamed instruct show`: conversations as tables in the terminal and as a page with their pictures."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup
from rich.columns import Columns
from rich.console import RenderableType

from llavamed import artifact, pages, storage
from llavamed.console import table
from llavamed.corpus.schema import DOMAINS, KINDS, SPLITS
from llavamed.instruct.clean import MEANING
from llavamed.pick import pick
from llavamed.storage import Json

PICTURES = 40  # in the gallery
EXCLUDED = 60  # examples of what was left out
OPENINGS = 20  # the most frequent ones
FLOW = ("record", "in", "kept", "left out")
SHOWN = 40  # characters of a setting
NO_DOMAIN = "none of the five"
LENGTHS = (1, 5, 10, 20, 40, 80, 160)  # words: where the classes of answers begin
_COLUMNS = ["domain", "conversations", "split", "teacher"]


@dataclass
class Survey:
    """What a set holds: the manifest's `counts` and `settings`, and title -> value -> number, counted in the tables."""

    counts: Json
    settings: Json
    of_records: dict[str, Counter[str]] = field(default_factory=dict)
    of_turns: dict[str, Counter[str]] = field(default_factory=dict)


def show(folder: Path, *, page: Path | None = None, seed: int = 0) -> tuple[list[RenderableType], Path]:
    """Write the page of the set in `folder` (to `<folder>.html` if not named) and return tables for the terminal.

    `seed` draws the conversations that the page shows.

    Raises:
        InputError: `folder` is no finished set of conversations, or the page would lie inside it.
    """
    artifact.require(folder, "conversations")
    target = pages.beside(folder, page, "set")
    found = survey(folder)
    kept = found.counts["conversations"]["kept"]
    sections = [
        ("What it holds", _counted(found)),
        ("Conversations", [gallery(folder, PICTURES, seed)]),
        ("Left out", _left_out(folder, found, seed)),
    ]
    storage.write_text(
        target, pages.page(f"Conversations: {kept:,}", sections, "Those shown are drawn by hash, each domain in turn.")
    )
    return _terminal(found), target


def survey(folder: Path) -> Survey:
    """Count the tables of a set, a row group in memory at a time."""
    domains, splits, teachers, turns, lengths, openings = (Counter[str]() for _ in range(6))
    for row in storage.read_rows(folder, columns=_COLUMNS):
        said = row["conversations"] or []
        domains[domain_of(row)] += 1
        splits[row["split"]] += 1
        teachers[row["teacher"] or "not known"] += 1
        turns[str(len(said) // 2)] += 1
        lengths.update(_length(part["value"]) for part in said if part["from"] == "gpt")
        openings.update(opening(part["value"]) for part in said if part["from"] == "human")
    manifest = artifact.read_manifest(folder)
    classes = [_class(n) for n in range(len(LENGTHS))]
    return Survey(
        manifest["counts"],
        manifest["settings"],
        {
            "Domains": _ranked(domains),
            "Turns of a conversation": Counter({n: turns[n] for n in sorted(turns, key=int)}),
            "Splits": Counter({split: splits[split] for split in SPLITS if split in splits}),
            "Teachers": _ranked(teachers),
        },
        {
            "How questions open": Counter(dict(list(_ranked(openings).items())[:OPENINGS])),
            "Words of an answer": Counter({name: lengths[name] for name in classes if name in lengths}),
        },
    )


def domain_of(row: Json) -> str:
    """A record's domains in words."""
    named = [KINDS[kind] for domain, kind in DOMAINS.items() if (row["domain"] or {}).get(domain)]
    return ", ".join(named) or NO_DOMAIN


def opening(question: str) -> str:
    """The first two words of a question, in small letters."""
    words = question.replace("<image>", " ").lower().split()[:2]
    return " ".join(word.strip(".,:;?!\"'") for word in words) or "(empty)"


def gallery(folder: Path, n: int, seed: int) -> Markup:
    """Up to `n` conversations beside their pictures, the domains in turn, drawn by `seed`."""
    rows = pick(storage.tables(folder), n, domain_of, ["domain"], key=("id",), salt=f"{seed} ")
    return pages.gallery(_card(row) for row in rows)


def _card(row: Json) -> pages.Card:
    said = row["conversations"] or []
    lines = [
        ("Question" if part["from"] == "human" else "Answer", part["value"].replace("<image>", "").strip())
        for part in said
    ]
    domain = domain_of(row)
    return pages.Card(
        image=(row["image"] or {}).get("bytes"),
        caption=row["id"],
        lines=lines,
        tags=[domain, row["split"], row["teacher"] or "teacher not known"],
        alt=f"{domain}: {row['pair_id']}",
        long=600,
    )


def _counted(found: Survey) -> list[Markup]:
    flow = pages.table("Kept and left out", FLOW, _flow(found), numeric=(1, 2, 3))
    made = [
        (key.replace("_", "-"), _setting(value)) for key, value in found.settings.items() if value not in (None, "")
    ]
    settings = pages.table("How it was made", ("setting", "value"), made)
    reasons = [
        pages.bars(f"Left out: {what}, by rule", {_meant(name): n for name, n in _ranked(count["excluded"]).items()})
        for what, count in found.counts.items()
        if count["excluded"]
    ]
    charts = {title: pages.bars(title, counts, title.lower()) for title, counts in _charts(found).items()}
    small = pages.stack(charts["Turns of a conversation"], charts["Splits"], charts["Teachers"])
    rows = [pages.row(flow, settings)] + ([pages.row(*reasons)] if reasons else [])
    return [
        *rows,
        pages.row(charts["Domains"], small),
        pages.row(charts["How questions open"], charts["Words of an answer"]),
    ]


def _left_out(folder: Path, found: Survey, seed: int) -> list[Markup]:
    files = [path for path in storage.tables(folder, "excluded") if path.name.startswith("turns-")]
    files = files or storage.tables(folder, "excluded")
    if not files:
        return [pages.text("Nothing was left out.")]
    key = ("id", "turn") if files[0].name.startswith("turns-") else ("id",)
    rows = pick(files, EXCLUDED, lambda row: str(row["reason"]), ["reason"], key=key, salt=f"{seed} ")
    shown = [
        (row["reason"], row["detail"] or "", row.get("question") or "", row.get("answer") or "", row["id"])
        for row in rows
    ]
    total = sum(n for count in list(found.counts.values())[-1:] for n in count["excluded"].values())
    words = f"{len(shown)} of {total:,} that were left out; the set keeps all of them, in its folder excluded."
    return [
        pages.note(words),
        pages.table("Examples", ("rule", "what broke it", "question", "answer", "record"), shown),
    ]


def _setting(value: object) -> str:
    """A setting in words: of a hash, enough to know it by."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)[:SHOWN]


def _meant(reason: str) -> str:
    return f"{reason}: {MEANING[reason]}" if reason in MEANING else reason


def _class(n: int) -> str:
    """The name of a class of lengths."""
    return f"{LENGTHS[n]}-{LENGTHS[n + 1] - 1}" if n + 1 < len(LENGTHS) else f"{LENGTHS[n]} or more"


def _length(answer: str) -> str:
    words = max(1, len(answer.split()))
    return _class(max(n for n, least in enumerate(LENGTHS) if words >= least))


def _charts(found: Survey) -> dict[str, Counter[str]]:
    return found.of_records | found.of_turns


def _ranked(counts: dict[str, int]) -> Counter[str]:
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _flow(found: Survey) -> list[tuple[str, int, int, int]]:
    return [(what, count["in"], count["kept"], sum(count["excluded"].values())) for what, count in found.counts.items()]


def _terminal(found: Survey) -> list[RenderableType]:
    reasons = [
        table(f"Left out: {what}", ("rule", "number", "meaning"), [(key, n, MEANING.get(key, "")) for key, n in
               _ranked(count["excluded"]).items()])
        for what, count in found.counts.items()
        if count["excluded"]
    ]  # fmt: skip
    records = [table(title, ("", "conversations"), list(counts.items())) for title, counts in found.of_records.items()]
    turns = [table(title, ("", "turns"), list(counts.items())) for title, counts in found.of_turns.items()]
    return [table("Kept and left out", FLOW, _flow(found)), *reasons, Columns([*records, *turns], padding=(0, 4))]
