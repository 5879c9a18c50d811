"""California's AB 2013 (Civil Code 3111): its twelve items on the data that a generative model was trained on."""

from llavamed.summary.document import Document, Section
from llavamed.summary.facts import Facts
from llavamed.summary.forms import content, origins
from llavamed.summary.forms.parts import Part, added, computed, counted, field, named, said, stated
from llavamed.summary.forms.stated import continues, data_sets, document, made_by_ai, yes_beside
from llavamed.summary.profile import Content, Profile

_MODALITIES = ("text", "image", "audio", "video", "other")


def ab2013(facts: Facts, profile: Profile) -> Document:
    """Form C. A fine-tuning is a substantial modification, and has a summary of its own."""
    title = "Training data documentation (California Civil Code, section 3111)"
    goes_on = named("Goes on", continues(facts, profile))
    return document("ab2013", title, facts, profile, (
        Section("1", "High-level summary of the data sets", (
            field("1", "Sources or owners of the data sets", *_sources(facts, profile)),
            field("2", "How the data sets further the purpose of the model",
                  stated(profile.purpose, "purpose", "what the data are for")),
            field("3", "Number of data points", *_numbers(facts, profile)),
            field("4", "Types of data points, and of labels", *_types(facts, profile)),
            field("5", "Copyright, trademark, patent, or public domain",
                  *counted(origins.copyrighted(facts), profile.protection, "protection",
                           "copyright, trademarks, patents, or public domain")),
            field("6", "Were data sets bought or licensed?", *_bought(facts, profile)),
            field("7", "Do they hold personal information?",
                  *counted(content.clinical(facts), profile.personal_information, "personal_information",
                           "what there is, and how it is dealt with")),
            field("8", "Do they hold aggregate consumer information?",
                  stated(profile.consumer_information, "consumer_information", "what there is, or none")),
            field("9", "Cleaning, processing and modification, and what for", *_cleaning(facts, profile)),
            field("10", "Period of collection, and whether it goes on", *_period(facts, profile), goes_on),
            field("11", "Dates the data sets were first used",
                  *counted(content.first_use(facts), profile.collection.first_used, "collection.first_used",
                           "YYYY-MM-DD")),
            field("12", "Synthetic data", *made_by_ai(facts, profile)),
        )),
    ))  # fmt: skip


def _sources(facts: Facts, profile: Profile) -> list[Part | None]:
    known = [*origins.sources(facts), origins.publishers(facts, profile.is_small)]
    named_sets = data_sets(profile.public.datasets + profile.private.datasets)
    given = [named_sets, added(profile.public.others), added(profile.private.others)]
    found = [part for part in (*known, *given) if part]
    return [*found] or [stated(None, "public.datasets", "name, owner, link of each")]


def _given(profile: Profile, name: str) -> Content:
    found: Content = getattr(profile.data, name)
    return found


def _numbers(facts: Facts, profile: Profile) -> list[Part | None]:
    known = {"text": content.text_size(facts), "image": content.image_size(facts)}
    parts = [named(name.capitalize(), known.get(name) or said(size)) for name in _MODALITIES
             if (size := _given(profile, name).size or "") or known.get(name)]  # fmt: skip
    return [*parts] or [stated(None, "data", "a size for each modality")]


def _types(facts: Facts, profile: Profile) -> list[Part | None]:
    known = [content.text_content(facts), content.article_types(facts), content.kinds(facts), content.domains(facts)]
    given = [named(name.capitalize(), said(words)) for name in _MODALITIES if (words := _given(profile, name).content)]
    fact = facts.get("seen.conversations")
    labels = fact and computed(
        "Labels: the text of each conversation is its label; no other labels were made. Kinds of image were used to "
        "choose and to count figures.",
        fact,
    )
    found = [part for part in (*known, labels, *given) if part]
    return [*found] or [stated(None, "data", "types of content of each modality")]


def _bought(facts: Facts, profile: Profile) -> list[Part | None]:
    known = origins.all_public(facts, "no data set was bought or licensed by a commercial agreement")
    return yes_beside(profile.licensed.used, profile.licensed.agreements, "licensed", "agreements", known)


def _cleaning(facts: Facts, profile: Profile) -> list[Part | None]:
    return [
        *counted(origins.steps(facts), profile.cleaning, "cleaning", "each step and what for"),
        origins.purposes(facts),
        origins.resized(facts),
        origins.removed(facts, "opt_outs", "retracted", "duplicates", "in_test_set", "dicom_tags", "turns"),
    ]


def _period(facts: Facts, profile: Profile) -> tuple[Part | None, ...]:
    months = dict.fromkeys(filter(None, (profile.collection.earliest, profile.collection.latest)))
    given = " to ".join(months) or None
    return counted(content.period(facts), given, "collection", "`earliest` and `latest`, MM/YYYY")
