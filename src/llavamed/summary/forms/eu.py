"""The form of the EU AI Act, Article 53(1)(d): the Commission's template of 24 July 2025, by its field numbers."""

from llavamed.summary.document import Document, Section
from llavamed.summary.facts import Facts
from llavamed.summary.forms import content, origins
from llavamed.summary.forms.eu_sources import crawled, licensed, other, private, public, synthetic, users
from llavamed.summary.forms.parts import Part, added, counted, field, named, said, stated, table, yes_no
from llavamed.summary.forms.stated import absent, document, models, updated, version
from llavamed.summary.profile import Content, Profile, Rights, as_month

_MODALITIES = ("Text", "Image", "Audio", "Video", "Other")


def eu(facts: Facts, profile: Profile) -> Document:
    """Form B. A modifier (fine-tuner) reports the data of its own modification."""
    title = "Public summary of training content (Regulation (EU) 2024/1689, Article 53(1)(d))"
    return document("eu", title, facts, profile, (
        Section("0", "This summary", (
            field("0.a", "Version, and links to earlier ones", *version(profile, places=True)),
            field("0.b", "Date of the last update", _last_update(facts, profile)),
        )),
        Section("1.1", "Provider", (
            field("1.1.a", "Provider's name and contact", *_contact(profile)),
            field("1.1.b", "Authorised representative in the Union", _representative(profile)),
        )),
        Section("1.2", "Model", (
            field("1.2.a", "Versioned model names", *models(facts, profile)),
            field("1.2.b", "Models that it was made from", *_bases(facts, profile)),
            field("1.2.c", "Date of placing on the Union market", _placed(profile)),
        )),
        Section("1.3", "Modalities, size and characteristics of the training data", (
            field("1.3.a", "Modalities in the training data", _modalities(facts, profile)),
            field("1.3.b", "Size of the training data, by modality", *_sizes(facts, profile)),
            field("1.3.c", "Types of content, by modality", *_contents(facts, profile)),
            field("1.3.d", "Latest acquisition, and whether it goes on", *_latest(facts, profile)),
            field("1.3.e", "Languages",
                  *counted(content.languages(facts), profile.data.languages, "data.languages", "each by name")),
            field("1.3.f", "Regions, demography and other characteristics", *_characteristics(facts, profile)),
            field("1.3.g", "Comments: how the sizes were counted",
                  *counted(content.counting(facts), profile.data.counting, "data.counting", "tokenizer, compression")),
        )),
        Section("2.1", "Publicly available data sets", public(facts, profile)),
        Section("2.2", "Private data sets of third parties", (*licensed(facts, profile), *private(facts, profile))),
        Section("2.3", "Data crawled and scraped from online sources", crawled(facts, profile)),
        Section("2.4", "User data", users(facts, profile)),
        Section("2.5", "Synthetic data", synthetic(facts, profile)),
        Section("2.6", "Other sources of data", other(facts, profile)),
        Section("3.1", "Reservations of rights against text and data mining", (
            field("3.1.a", "Signatory of the Code of Practice",
                  yes_no(profile.rights.code_of_practice, "rights.code_of_practice")),
            field("3.1.b", "Measures to keep reservations of rights", *_rights(facts, profile.rights)),
            field("3.1.c", "Copyright policy, and comments",
                  stated(profile.rights.policy, "rights.policy", "in short, with a link if it is public")),
        )),
        Section("3.2", "Illegal content", (
            field("3.2.a", "Measures to avoid or remove illegal content",
                  stated(profile.illegal_content, "illegal_content", "what was looked for, how, how much was found")),
        )),
        Section("3.3", "Other measures", (field("3.3.a", "Other measures", *_other_measures(facts, profile)),)),
    ))  # fmt: skip


def eu_day(day: str) -> str:
    """YYYY-MM-DD as DD/MM/YYYY."""
    return f"{day[8:]}/{day[5:7]}/{day[:4]}"


def _last_update(facts: Facts, profile: Profile) -> Part:
    day = updated(facts, profile)
    if day is None:
        return stated(None, "updated", "YYYY-MM-DD")
    if profile.updated:
        return said(f"{eu_day(day)}.")
    return Part(f"{eu_day(day)}, the day on which the training of this model ended.", "computed",
                (facts["model.finished"],))  # fmt: skip


def _contact(profile: Profile) -> list[Part]:
    provider = profile.provider
    return [
        stated(provider.name if provider else None, "provider.name", "legal name"),
        named("Contact", stated(provider.contact if provider else None, "provider.contact",
                                "a desk for questions about training data")),
    ]  # fmt: skip


def _representative(profile: Profile) -> Part:
    given = profile.provider.representative if profile.provider else None
    return stated(given, "provider.representative", "or `not applicable: ` and where in the Union you are established")


def _bases(facts: Facts, profile: Profile) -> list[Part | None]:
    known, delta = origins.bases(facts), origins.delta_base(facts)
    rows = [(base.name, base.link or "not stated", base.summary or "not stated") for base in profile.bases]
    shown = [table("Summaries of the models that it was made from", ("model", "link", "its summary"), rows)]
    links = said("Their own summaries, as far as the provider knows:", tables=shown) if rows else None
    if known is None:
        return [delta, links or stated(None, "bases", "name, link, summary; or none")]
    names = [part["name"] for part in content.parts_of(facts)]
    named_all = {base.name for base in profile.bases} >= set(names)
    asked = None if named_all else stated(None, "bases", f"link and summary of {', '.join(names)}")
    return [known, delta, links, asked]


def _placed(profile: Profile) -> Part:
    days = [f"{' '.join(filter(None, (m.name, m.version)))}: {eu_day(m.placed_on_market)}" for m in profile.models
            if m.placed_on_market]  # fmt: skip
    return stated(f"{'; '.join(days)}." if days else None, "models.0.placed_on_market", "YYYY-MM-DD")


def _given(profile: Profile, name: str) -> Content:
    found: Content = getattr(profile.data, name.lower())
    return found


def _modalities(facts: Facts, profile: Profile) -> Part:
    counted_in = [name for name, part in (("Text", content.text_size(facts)), ("Image", content.image_size(facts)))
                  if part]  # fmt: skip
    given = [name for name in _MODALITIES if (size := _given(profile, name).size)
             and not size.lower().startswith("not applicable")]  # fmt: skip
    if not counted_in and not given:
        return stated(None, "data", "a size for each modality")
    present = [name for name in _MODALITIES if name in counted_in or name in given]
    text = " ".join(f"{'☒' if name in present else '☐'} {name}" for name in _MODALITIES)
    rests = [facts[key] for key in ("seen.text_tokens", "seen.images", "data.words", "data.images") if key in facts]
    return Part(text, "computed", tuple(rests)) if counted_in else said(text)


def _sizes(facts: Facts, profile: Profile) -> list[Part | None]:
    parts: list[Part | None] = []
    for name, known in (("Text", content.text_boxes(facts)), ("Image", content.image_boxes(facts))):
        key = f"data.{name.lower()}.size"
        parts += [named(name, part) for part in counted(known, _given(profile, name).size, key) if part]
    return [*parts, *_others(facts, profile, "size")]


def _contents(facts: Facts, profile: Profile) -> list[Part | None]:
    text = [content.text_content(facts), content.article_types(facts), content.years(facts)]
    image = [content.kinds(facts), content.domains(facts)]
    parts: list[Part | None] = []
    for name, found in (("Text", text), ("Image", image)):
        known = [part for part in found if part]
        key, given = f"data.{name.lower()}.content", _given(profile, name).content
        shown = (*known, added(given)) if known else (stated(given, key),)
        parts += [named(name, part) for part in shown if part]
    return [*parts, *_others(facts, profile, "content")]


def _others(facts: Facts, profile: Profile, what: str) -> list[Part | None]:
    """Audio, video and others: as stated, else there is none in a model of ours."""
    parts: list[Part | None] = []
    for name in ("Audio", "Video", "Other"):
        given = getattr(_given(profile, name), what)
        none = None if given else absent(facts)
        parts.append(named(name, none or stated(given, f"data.{name.lower()}.{what}")))
    return parts


def _latest(facts: Facts, profile: Profile) -> list[Part | None]:
    stated_latest = profile.collection.latest and as_month(profile.collection.latest)
    goes_on, known = profile.collection.continues, content.ongoing(facts)
    again = (known and named("Goes on after training", known)) if goes_on is None else None
    answer = yes_no(goes_on, "collection.continues", "is the model trained on new data after that month?")
    return [
        *counted(content.latest_month(facts), stated_latest, "collection.latest", "MM/YYYY"),
        again or named("Trained on new data after that month", answer),
    ]


def _characteristics(facts: Facts, profile: Profile) -> list[Part | None]:
    data = profile.data
    return [
        named("Regions", stated(data.regions, "data.regions", "countries or regions the data are from")),
        named("Demography", stated(data.demographics, "data.demographics", "people in the data")),
        content.histogram(facts, "years", "Years of publication, by figure", {"unknown": content.UNKNOWN}),
        added(data.characteristics),
    ]


def _rights(facts: Facts, rights: Rights) -> list[Part | None]:
    asked = (("robots.txt", rights.robots, "robots", "how it is kept"),
             ("Opt-outs", rights.opt_outs, "opt_outs", "lists of data sets and of rightsholders"),
             ("Requests", rights.requests, "requests", "how later ones are followed, how soon"))  # fmt: skip
    stated_parts = [named(name, stated(value, f"rights.{key}", what)) for name, value, key, what in asked]
    return [*stated_parts, origins.removed(facts, "opt_outs", "licence", "retracted"), added(rights.measures)]


def _other_measures(facts: Facts, profile: Profile) -> list[Part | None]:
    known = [origins.removed(facts, "retracted", "duplicates", "in_test_set", "dicom_tags", "turns"),
             origins.steps(facts), content.clinical(facts)]  # fmt: skip
    given = [profile.other_measures, profile.personal_information]
    if any(known):
        return [*known, *map(added, given)]
    whole = " ".join(filter(None, given)) or None
    return [stated(whole, "other_measures", "or `not applicable: ` and why")]
