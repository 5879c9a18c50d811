"""Part 2 of the EU form: where the data come from, kind by kind."""

from collections.abc import Iterable

from llavamed.summary.document import Field
from llavamed.summary.facts import Facts
from llavamed.summary.forms import content, origins
from llavamed.summary.forms.bands import LISTED, required, share
from llavamed.summary.forms.parts import (
    Part,
    added,
    answered,
    computed,
    counted,
    field,
    named,
    not_applicable,
    said,
    stated,
    table,
    yes_no,
)
from llavamed.summary.forms.stated import data_sets
from llavamed.summary.profile import Crawled, Dataset, Profile

Fields = tuple[Field, ...]


def public(facts: Facts, profile: Profile) -> Fields:
    """2.1: publicly available data sets."""
    given = profile.public
    free, listed = origins.public(facts), origins.large_sources(facts) or origins.acquired(facts)
    none = _none(free, given.used, "publicly available data sets were not used")
    comments = [origins.publishers(facts, profile.is_small), _licences(facts), added(given.comments)]
    modalities = tuple(dict.fromkeys(name for one in given.datasets for name in one.modalities))
    seen = origins.modalities(facts) or (computed("Text and image.", *free.facts) if free else None)
    small = origins.small_sources(facts)
    return (
        field("2.1.a", "Were publicly available data sets used?", *answered(free, given.used, "public.used")),
        field("2.1.b", "Modalities", none or seen or _modalities(modalities, "public.datasets")),
        field("2.1.c", "Large publicly available data sets",
              *([none] if none else [listed, *_selection(facts, profile),
                                     *_named(given.datasets, "public.datasets", listed is not None)])),
        field("2.1.d", "Other publicly available data sets",
              *([none] if none else counted(small, given.others, "public.others",
                                            "modality, content, languages, first and last month; or none"))),
        field("2.1.e", "Comments",
              *([none] if none else comments if any(comments) else [stated(None, "public.comments", "sizes")])),
    )  # fmt: skip


def _selection(facts: Facts, profile: Profile) -> list[Part | None]:
    """How parts of the public data sets were chosen."""
    known = origins.selection(facts)
    given = stated(profile.public.selection, "public.selection", "how parts were chosen, or that all was taken")
    return [known, named("How parts were chosen", given)] if known else []


def licensed(facts: Facts, profile: Profile) -> Fields:
    """2.2.1: data licensed by rightsholders."""
    given = profile.licensed
    known = origins.all_public(facts, "no source is licensed by a commercial agreement")
    answer = answered(known, given.used, "licensed.used")
    none = _none(known, given.used, "no data were licensed commercially")
    return (
        field("2.2.1.a", "Were commercial licences concluded with rightsholders?", *answer, added(given.agreements)),
        field("2.2.1.b", "Modalities", none or _modalities(given.modalities, "licensed.modalities")),
    )


def private(facts: Facts, profile: Profile) -> Fields:
    """2.2.2: private data sets of other third parties."""
    given = profile.private
    known = origins.all_public(facts, "no source is a private data set of a third party")
    answer = answered(known, given.used, "private.used")
    none = _none(known, given.used, "no private data sets of third parties were used")
    return (
        field("2.2.2.a", "Were private data sets of other third parties used?", *answer),
        field("2.2.2.b", "Modalities", none or _modalities(given.modalities, "private.modalities")),
        field("2.2.2.c", "Data sets publicly known to exist",
              *([none] if none else _named(given.datasets, "private.datasets", False))),
        field("2.2.2.d", "Other private data sets",
              none or stated(given.others, "private.others", "modality, content, languages")),
        field("2.2.2.e", "Comments",
              none or stated(given.comments, "private.comments", "period of collection, size")),
    )  # fmt: skip


def crawled(facts: Facts, profile: Profile) -> Fields:
    """2.3: data crawled and scraped."""
    given, small = profile.crawled, profile.is_small
    known = origins.all_public(facts, "no page was crawled or scraped; the data came as published files")
    answer = answered(known, given.used, "crawled.used")
    none = _none(known, given.used, "nothing was crawled or scraped")
    rows = [(crawler.name, crawler.purpose, f"{crawler.first} to {crawler.latest}") for crawler in given.crawlers]

    def column(place: int, name: str) -> Part:
        pairs = [(row[0], row[place]) for row in rows] if place else [(row[0],) for row in rows]
        header = ("crawler", name) if place else ("crawler",)
        shown = [table(f"Crawlers: {name}", header, pairs)]
        return said(f"{len(rows)} crawlers.", tables=shown) if rows else stated(None, "crawled.crawlers", name)

    return (
        field("2.3.a", "Were data crawled or scraped?", *answer),
        field("2.3.b", "Crawlers", none or column(0, "names")),
        field("2.3.c", "Purposes of the crawlers", none or column(1, "purpose")),
        field("2.3.d", "Behaviour of the crawlers",
              *([none] if none else _each(given, "robots", "captchas", "passwords", "paywalls", "protocols",
                                          "behaviour"))),
        field("2.3.e", "Period of collection", none or column(2, "period")),
        field("2.3.f", "Content and sources",
              *([none] if none else _each(given, "sites", "regions", "languages", "demographics"))),
        field("2.3.g", "Modalities", none or _modalities(given.modalities, "crawled.modalities")),
        field("2.3.h", "Domains", none or _domains(given, small)),
        field("2.3.i", "Comments", none or stated(given.comments, "crawled.comments", "or `not applicable: ` and why")),
    )  # fmt: skip


def users(facts: Facts, profile: Profile) -> Fields:
    """2.4: data of users."""
    given = profile.users
    known = origins.all_public(facts, "no source is data of users")
    answers = [
        answered(known, said_so, f"users.{key}")
        for key, said_so in (("interactions", given.interactions), ("other_services", given.other_services))
    ]
    used = True if given.interactions or given.other_services else given.other_services
    none = _none(known, used, "no data of users were used")
    no_services = _none(known, given.other_services, "no data of users of other services were used")
    return (
        field("2.4.a", "Were data of interactions with the model used?", *answers[0]),
        field("2.4.b", "Were data of users of other services used?", *answers[1]),
        field(
            "2.4.c", "Services and products", no_services or stated(given.services, "users.services", "each by name")
        ),
        field("2.4.d", "Modalities", none or _modalities(given.modalities, "users.modalities")),
        field("2.4.e", "Comments", none or stated(given.comments, "users.comments", "or `not applicable: ` and why")),
    )


def synthetic(facts: Facts, profile: Profile) -> Fields:
    """2.5: data made by AI models."""
    given, known = profile.synthetic, origins.synthetic(facts)
    made = origins.makers(facts)
    used = bool(made) if known else given.used
    none = not_applicable("no data were made by AI models") if used is False and given.used is not True else None
    stated_of = {model.name: model for model in given.models}
    names = list(dict.fromkeys([*(maker["name"] for maker in made), *stated_of]))
    on_market = [name for name in names if name not in stated_of or stated_of[name].on_market is not False]
    off_market = [name for name in names if name not in on_market]
    summary = [(name, _version(made, name), stated_of[name].summary if name in stated_of else None)
               for name in on_market]  # fmt: skip
    rows = [(name, version, found or "not stated: add `synthetic.models` to the profile")
            for name, version, found in summary]  # fmt: skip
    trained = [(name, _version(made, name), stated_of[name].training_data or "not stated") for name in off_market]
    rests = [facts[key] for key in ("seen.synthetic", "made_by") if key in facts]

    def listed(what: str, header: str, rows: list[tuple[str, str, str]]) -> Part:
        shown = [table(what, ("model", "version", header), rows)]
        text = f"{len(rows)} models."
        return computed(text, *rests, tables=shown) if made else said(text, tables=shown)

    modalities = known and made and computed("Text.", *rests)
    nobody = not_applicable("each model that made data is on the market")
    nothing = not_applicable("no model that is on the market made data")
    return (
        field("2.5.a", "Were data made by AI models used?", *answered(known, given.used, "synthetic.used"),
              origins.base_unknown(facts)),
        field("2.5.b", "Modalities", none or modalities or _modalities(given.modalities, "synthetic.modalities")),
        field("2.5.c", "General-purpose AI models on the market that made them",
              none or (listed("Models on the market", "its summary", rows) if rows else nothing if trained
                       else stated(None, "synthetic.models", "name, summary"))),
        field("2.5.d", "Other AI models that made them",
              none or (listed("Models not on the market", "trained on", trained) if trained else nobody)),
        field("2.5.e", "Comments",
              none or origins.made_when(facts) or stated(given.comments, "synthetic.comments", "dates, counts"),
              None if none or not origins.made_when(facts) else added(given.comments)),
    )  # fmt: skip


def other(facts: Facts, profile: Profile) -> Fields:
    """2.6: data from anywhere else, such as what fixed rules wrote."""
    given, rules, brought = profile.other, origins.by_rules(facts), origins.own_sources(facts)
    known = [part for part in (brought, origins.own_text(facts), rules) if part]
    none = not_applicable("no data came from other sources") if given.used is False and not known else None
    comment = stated(given.comments, "other.comments", "or `not applicable: ` and why")
    return (
        field("2.6.a", "Were other sources used?",
              *([computed("Yes.", *(fact for part in known for fact in part.facts))] if known else
                [yes_no(given.used, "other.used")])),
        field("2.6.b", "Description",
              *([none] if none else [*known, added(given.description)] if known else
                [stated(given.description, "other.description", "what, from where")])),
        field("2.6.c", "Comments", none or origins.amount_by_rules(facts) or comment,
              added(given.comments) if origins.amount_by_rules(facts) and not none else None),
    )  # fmt: skip


def _none(known: Part | None, used: bool | None, why: str) -> Part | None:
    """Why the rest of a part does not apply: it was answered no, here or by the lineage."""
    says_no = known.text.startswith("No") if known else used is False
    no = says_no and used is not True
    return not_applicable(why) if no else None


def _modalities(names: Iterable[str], key: str) -> Part:
    return stated(", ".join(names).capitalize() or None, key, "modalities: text, image, audio, video, other")


def _named(sets: tuple[Dataset, ...], key: str, known: bool) -> list[Part | None]:
    shown = data_sets(sets)
    return [shown] if shown or known else [stated(None, key, "name, version, link, dates; or none")]


def _each(given: Crawled, *keys: str) -> list[Part | None]:
    parts = (stated(getattr(given, key), f"crawled.{key}") for key in keys)
    return [Part(f"{key.capitalize()}: {part.text}", part.basis) for key, part in zip(keys, parts, strict=True)]


def _domains(given: Crawled, small: bool) -> Part:
    if not given.domains:
        return stated(None, "crawled.domains", "each domain with the bytes fetched from it")
    must, total = required(len(given.domains), small), sum(given.domains.values())
    shown = content.ranked(given.domains)[: max(must, LISTED)]
    rows = [(name, n, share(n, total)) for name, n in shown]
    rule = "5 % or 1,000" if small else "10 %"
    text = f"{len(shown):,} of {len(given.domains):,} domains, the largest first; the largest {rule} are {must:,}."
    return said(text, tables=[table("Domains", ("domain", "bytes", "share"), rows)])


def _licences(facts: Facts) -> Part | None:
    shown = origins.shares_of_licences(facts)
    fact = facts.get("seen.licences") or facts.get("data.licences")
    return computed("Licences of the figures.", fact, tables=[shown]) if shown and fact else None


def _version(made: list[dict[str, str]], name: str) -> str:
    return next((maker.get("version") or "not known" for maker in made if maker["name"] == name), "not known")
