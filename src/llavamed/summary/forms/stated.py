"""What all forms take from the profile, and the document around the fields."""

from llavamed.summary.document import Chart, Document, Section, Table
from llavamed.summary.facts import Fact, Facts
from llavamed.summary.forms import content, origins
from llavamed.summary.forms.content import KIND_WORDS, LANGUAGES, LICENCE_WORDS, UNKNOWN, listed, parts_of
from llavamed.summary.forms.parts import Part, added, answered, computed, not_applicable, said, stated, table, yes_no
from llavamed.summary.profile import Dataset, Profile

UNKNOWN_BASE = (
    "What the base weights were trained on is not recorded in this lineage and is not counted. The projector between "
    "the parts started from random weights."
)
RANDOM_BASE = "All weights started random: no base model was used."
_CALLED = {"base": "data of the base models", "seen.synthetic": "what AI models made", "seen.sources": "sources",
           "collected.ongoing": "whether acquisition goes on", "collected.latest": "latest acquisition",
           "seen.text_tokens": "tokenizer", "delta.base": "base of the delta"}  # fmt: skip
_NO_WORDS: dict[str, str] = {}
_YEAR_WORDS = {"unknown": UNKNOWN}
_COMPARED = (("figures", "images", "figures", _NO_WORDS), ("kinds of image", "kinds", "kinds", KIND_WORDS),
             ("licences", "licences", "licences", LICENCE_WORDS),
             ("languages", "languages", "languages", LANGUAGES),
             ("years", "years", "years", _YEAR_WORDS))  # fmt: skip


def document(form: str, title: str, facts: Facts, profile: Profile, sections: tuple[Section, ...]) -> Document:
    """The sections with their charts, what to know first, and the tables that no field holds."""
    names = [" ".join(filter(None, (model.name, model.version))) for model in profile.models]
    known = facts.get("model.hash")
    number = version_of(profile)
    return Document(
        form,
        title,
        ", ".join(names) or (str(known.value) if known else "name not stated"),
        number,
        updated(facts, profile) or "not stated",
        sections,
        _charts(facts),
        tuple((earlier.version, earlier.link) for earlier in profile.previous),
        tuple(_notes(facts)),
        tuple(_appendix(facts)),
    )


def version_of(profile: Profile) -> str:
    """The version of the summary: as stated, else one more than there are earlier ones."""
    return profile.version or str(len(profile.previous) + 1)


def version(profile: Profile, places: bool = False) -> list[Part | None]:
    """Version, what came before, what changed; where it is published and the next announced, asked for by `places`."""
    number = version_of(profile)
    rows = [(earlier.version, earlier.link) for earlier in profile.previous]
    text = f"{number}." if rows else f"{number}, the first version: there is no earlier one."
    counted = Fact(number, f"profile: {len(rows)} earlier versions in `previous`, plus 1")
    link = profile.link and f"It is published at {profile.link}; what stands there is the latest version."
    where = profile.announced and f"Where updates are announced: {profile.announced}"
    return [
        said(text) if profile.version else computed(text, counted),
        said("Earlier versions:", tables=[table("Earlier versions", ("version", "link"), rows)]) if rows else None,
        stated(profile.changes, "changes", "what is different from the version before") if rows else None,
        said(link) if link else stated(None, "link", "where this version is published") if places else None,
        said(where) if where else stated(None, "announced", "where updates are announced") if places else None,
    ]


def updated(facts: Facts, profile: Profile) -> str | None:
    """The day of the last update, YYYY-MM-DD."""
    fact = facts.get("model.finished")
    return profile.updated or (str(fact.value) if fact else None)


def last_update(facts: Facts, profile: Profile) -> Part:
    """The day of the last update: as stated, else when the training ended."""
    fact = facts.get("model.finished")
    if fact and not profile.updated:
        return computed(f"{fact.value}, the day on which the training of this model ended.", fact)
    return stated(profile.updated, "updated", "YYYY-MM-DD")


def contact(profile: Profile) -> list[Part | None]:
    """Name and contact of the provider."""
    provider = profile.provider
    if provider is None:
        return [stated(None, "provider.name"), stated(None, "provider.contact", "a person or desk for such questions")]
    if provider.contact is None:
        return [stated(provider.name, "provider.name"), stated(None, "provider.contact")]
    return [said(f"{provider.name}, {provider.contact}")]


def models(facts: Facts, profile: Profile) -> list[Part | None]:
    """Names and versions of the models, with the hash of the one that the lineage is of."""
    fact = facts.get("model.hash")
    rows = [
        (model.name, model.version or "version not stated", model.link or "not stated",
         ", ".join(model.documentation) or "not stated")
        for model in profile.models
    ]  # fmt: skip
    shown = [table("Models", ("name", "version", "link", "documentation"), rows)] if rows else []
    names = [" ".join((model.name, model.version or "(version not stated)")) for model in profile.models]
    return [
        said(f"{', '.join(names)}.", tables=shown) if names else stated(None, "models", "name, version, link"),
        computed(f"Content hash of the model's files: {fact.value}.", fact) if fact else None,
    ]


def released(profile: Profile) -> Part:
    """The release dates."""
    days = [f"{model.name} {model.released}" for model in profile.models if model.released]
    alone = profile.models[0].released if len(profile.models) == 1 else "; ".join(days)
    return stated(alone or None, "models.0.released", "YYYY-MM-DD")


def continues(facts: Facts, profile: Profile) -> Part:
    """Whether data are collected after the model is in use: as stated, else as the lineage shows."""
    known = content.ongoing(facts)
    given = profile.collection.continues
    return known if known and given is None else yes_no(given, "collection.continues")


def made_by_ai(facts: Facts, profile: Profile) -> list[Part | None]:
    """Whether AI models made data, which ones, when and how much."""
    known = answered(origins.synthetic(facts), profile.synthetic.used, "synthetic.used")
    beside = added(profile.synthetic.comments)
    return [*known, origins.made_when(facts), origins.base_unknown(facts), beside]


def absent(facts: Facts) -> Part | None:
    """Why there is no audio, video or other modality in a model of ours or in a data set that was counted."""
    lineage = any(key.startswith("seen.") for key in facts)
    if lineage:
        return not_applicable("the training tables hold text and images only")
    return not_applicable("the data set holds text and images only") if facts else None


def data_sets(sets: tuple[Dataset, ...]) -> Part | None:
    """Data sets as the profile names them."""
    if not sets:
        return None
    header = ("name and version", "link", "modalities", "content and languages", "acquired", "how parts were chosen")
    rows = [
        (" ".join(filter(None, (one.name, one.version))), one.link or "no link", ", ".join(one.modalities),
         "; ".join(filter(None, (one.content, one.languages))),
         " to ".join(filter(None, (one.first, one.latest))) or "not known", one.selection or "taken whole")
        for one in sets
    ]  # fmt: skip
    return said(f"{len(sets)} data sets are named.", tables=[table("Data sets, as stated", header, rows)])


def yes_beside(
    used: bool | None, words: str | None, key: str, beside: str, known: Part | None = None
) -> list[Part | None]:
    """A question with a yes or no and, after a yes, words; what the lineage says comes first."""
    if known:
        return [*answered(known, used, f"{key}.used"), added(words)]
    if used is None and words:
        return [stated(words, f"{key}.{beside}")]
    answer = yes_no(used, f"{key}.used")
    return [answer, stated(words, f"{key}.{beside}", "what, and from whom") if used else added(words)]


def _charts(facts: Facts) -> tuple[Chart, ...]:
    wanted = (
        ("Kinds of image", "kinds", KIND_WORDS),
        ("Licences", "licences", LICENCE_WORDS),
        ("Years", "years", _YEAR_WORDS),
    )
    charts = []
    for title, name, words in wanted:
        fact, which = facts.get(f"seen.{name}") or facts.get(f"data.{name}"), "seen in training"
        if fact is None:
            fact, which = facts.get(f"collected.{name}"), "collected"
        if fact and fact.value:
            counts = {words.get(key, key): n for key, n in fact.value.items()}
            ordered = sorted(counts.items()) if name == "years" else content.ranked(counts)
            charts.append(Chart(f"{title}, by figure {which}", dict(ordered), fact.source))
    return tuple(charts)


def _notes(facts: Facts) -> list[str]:
    notes = [
        "Every field is computed from the model's lineage, stated by its provider, not stated, or not applicable. "
        "Under each computed answer stands where it was read: the artifact (kind, first digits of its content "
        "hash) and the query."
        if facts
        else "Every field is stated by the provider, not stated, or not applicable: nothing here was computed."
    ]
    if "seen.text_tokens" in facts:
        notes.append(
            "Sizes are of the data after cleaning and before training, each record once; how often they were read is "
            "told apart. Where a model was made from others, the data of this modification alone are counted."
        )
    unknown = facts.get("unknown")
    if unknown and unknown.value:
        notes.append(f"Facts that are not known: {len(unknown.value)}; what they are and why stands at the end.")
    if "base" in facts:
        notes.append(UNKNOWN_BASE if parts_of(facts) else RANDOM_BASE)
    return notes


def _appendix(facts: Facts) -> list[Table]:
    tables = []
    parts = parts_of(facts)
    if parts:
        what = ("part", "weights", "licence", "where from", "what to know")
        cells = ((p["role"], p["name"], p["licence"], f"{p['source']} (SHA-256 {p['sha256']})", p["note"])
                 for p in parts)  # fmt: skip
        tables.append(table("Base models", what, cells))
    if "seen.images" in facts:
        compared = ((title, _value(facts, f"seen.{seen}", words), _value(facts, f"collected.{collected}", words))
                    for title, seen, collected, words in _COMPARED)  # fmt: skip
        header = ("what", "seen in training", "collected")
        tables.append(table("Seen in training, and merely collected", header, compared))
    unknown = facts.get("unknown")
    if unknown and unknown.value:
        why = ((_called(entry["fact"]), entry["why"]) for entry in unknown.value)
        tables.append(table("Not known, and why", ("fact", "why"), why))
    if "lineage" in facts:
        line = ((entry["kind"], entry["hash"]) for entry in facts["lineage"].value)
        tables.append(table("Lineage", ("kind", "content hash (SHA-256)"), line))
    return tables


def _called(names: str) -> str:
    """What facts are called on a page."""
    return ", ".join(_CALLED.get(name, name.partition(".")[2].replace("_", " ") or name) for name in names.split(", "))


def _value(facts: Facts, key: str, words: dict[str, str]) -> str:
    if key not in facts:
        return "not known"
    value = facts[key].value
    return listed(value, words) if isinstance(value, dict) else f"{value:,}"
