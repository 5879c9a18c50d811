"""A summary before it is a page: sections of fields, charts, and where each value was read; all formats render it."""

from dataclasses import dataclass

COMPUTED, STATED, NOT_STATED, NOT_APPLICABLE = "computed", "stated", "not stated", "not applicable"


@dataclass(frozen=True)
class Table:
    """Rows under a header, all of text, each as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Field:
    """One field of a form; never blank. `number`: as in the form.

    `basis`: "computed", "stated", "not stated", "not applicable", or two of them ("computed, stated").
    `answer`: paragraphs, a blank line between. `sources`: for each computed statement, where it was read.
    """

    number: str
    title: str
    basis: str
    answer: str
    tables: tuple[Table, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A numbered part of a form: "2", "List of data sources"."""

    number: str
    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Chart:
    """Bars: how many figures carry each value, the most first (years: in order). `source`: where they were counted."""

    title: str
    counts: dict[str, int]
    source: str


@dataclass(frozen=True)
class Document:
    """One form, filled in.

    `form`: "combined", "eu" or "ab2013". `model`: its name, or its content hash. `previous`: (version, link) of earlier
    summaries. `notes`: what a reader must know first, a paragraph each. `appendix`: tables that no field holds (base
    models, seen beside collected, lineage).
    """

    form: str
    title: str
    model: str
    version: str
    updated: str
    sections: tuple[Section, ...]
    charts: tuple[Chart, ...] = ()
    previous: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    appendix: tuple[Table, ...] = ()
