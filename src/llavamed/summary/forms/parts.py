"""A field of a form is put together from parts; each says on what it rests."""

from collections.abc import Iterable
from dataclasses import dataclass

from llavamed.summary.document import COMPUTED, NOT_APPLICABLE, NOT_STATED, STATED, Field, Table
from llavamed.summary.facts import Fact

_ORDER = (COMPUTED, STATED, NOT_STATED, NOT_APPLICABLE)
Parts = tuple["Part", ...]


@dataclass(frozen=True)
class Part:
    """A statement. `facts`: those that a computed one was made from."""

    text: str
    basis: str
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()


def computed(text: str, *facts: Fact, tables: Iterable[Table] = ()) -> Part:
    """What the lineage says."""
    return Part(text, COMPUTED, facts, tuple(tables))


def stated(value: str | None, key: str, what: str = "") -> Part:
    """What the profile says under `key`; if it says nothing, what to add there."""
    if not value:
        return Part(f"Not stated: add `{key}` to the profile{what and f' ({what})'}.", NOT_STATED)
    if _is_none(value):
        return not_applicable(value.partition(":")[2].strip())
    return Part(value, STATED)


def said(text: str, *, tables: Iterable[Table] = ()) -> Part:
    """What the profile says, put in words here."""
    return Part(text, STATED, tables=tuple(tables))


def added(value: str | None) -> Part | None:
    """What the profile says beside what the lineage says; that something does not apply adds nothing."""
    return Part(f"Stated by the provider: {value}", STATED) if value and not _is_none(value) else None


def _is_none(value: str) -> bool:
    return value.lower().startswith("not applicable:")


def not_applicable(why: str) -> Part:
    """A field that does not apply."""
    return Part(f"Not applicable: {why.rstrip('.')}.", NOT_APPLICABLE)


def counted(part: Part | None, value: str | None, key: str, what: str = "") -> tuple[Part | None, ...]:
    """What the lineage says, and beside it what the profile says under `key`; without a lineage that alone."""
    return (part, added(value)) if part else (stated(value, key, what),)


def yes_no(answer: bool | None, key: str, what: str = "") -> Part:
    """A question that the profile answers."""
    return stated(None if answer is None else "Yes." if answer else "No.", key, what or "true or false")


def named(name: str, part: Part) -> Part:
    """A part that begins with what it is about."""
    return Part(f"{name}: {part.text}", part.basis, part.facts, part.tables)


def answered(known: Part | None, answer: bool | None, key: str) -> tuple[Part | None, ...]:
    """A question that the lineage answers, with what the profile says beside it; else the profile alone."""
    beside = None if answer is None else "Yes." if answer else "No."
    return (known, added(beside)) if known else (yes_no(answer, key),)


def field(number: str, title: str, *parts: Part | None) -> Field:
    """A field of these parts, a paragraph each; those that are None are left out."""
    found = [part for part in parts if part]
    bases = {part.basis for part in found}
    sources = dict.fromkeys(fact.source for part in found for fact in part.facts)
    return Field(
        number,
        title,
        ", ".join(basis for basis in _ORDER if basis in bases),
        "\n\n".join(part.text for part in found),
        tuple(table for part in found for table in part.tables),
        tuple(sources),
    )


def table(caption: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table; numbers with commas between thousands."""
    return Table(tuple(header), tuple(tuple(map(_cell, row)) for row in rows), caption)


def _cell(value: object) -> str:
    return f"{value:,}" if type(value) is int else "" if value is None else str(value)
