"""Statements on where the data come from, who made them, and what was done to them. None where the facts lack it."""

from typing import Any

from llavamed.corpus.problem import REASONS
from llavamed.summary.document import Table
from llavamed.summary.facts import Fact, Facts
from llavamed.summary.forms.bands import LARGE, share
from llavamed.summary.forms.content import (
    LANGUAGES,
    LICENCE_WORDS,
    listed,
    month,
    parts_of,
    pretrained,
    ranked,
    ranking,
)
from llavamed.summary.forms.parts import Part, computed, table

_PUBLIC = ("package", "bucket", "benchmark")  # kinds of source that anyone can get; of others the profile says it
# what was left out of the training data -> in words
REMOVED = {"opt_outs": "whose author or publisher had opted out", "retracted": "of retracted articles",
           "licence": "whose licence the chosen policy does not allow", "duplicates": "that were there twice",
           "in_test_set": "that are in a test set", "turns": "turns of conversations, by the rules of cleaning",
           "dicom_tags": "identifying DICOM tags, dropped"}  # fmt: skip


def public(facts: Facts) -> Part | None:
    """Whether there is data that anyone can get, and under which licences."""
    licences = facts.get("seen.licences") or facts.get("collected.licences") or facts.get("data.licences")
    if licences is None:
        return None
    which = "seen in training" if licences is facts.get("seen.licences") else "collected"
    known = facts.get("seen.sources")
    number = len(_open(known)) if known else 0
    if known and number:
        answer = f"Yes: figures and captions of articles, of {number:,} sources that anyone can get."
    elif any(key.startswith(("CC", "PDM")) for key in licences.value):  # the corpus's codes
        answer = "Yes: figures and captions, some or all under Creative Commons licences or in the public domain."
    else:
        answer = "No article under a Creative Commons licence or in the public domain is known."
    rests = [licences, known] if known and number else [licences]
    return computed(f"{answer} Licences of the figures {which}: {listed(licences.value, LICENCE_WORDS)}.", *rests)


def _open(fact: Fact) -> list[dict[str, Any]]:
    return [source for source in fact.value if source["kind"] in _PUBLIC]


def acquired(facts: Facts) -> Part | None:
    """Where articles were fetched from, and how they were chosen."""
    fact = facts.get("collected.sources")
    if fact is None:
        return None
    packages = [s for s in fact.value if "package" in s]
    sentences = [_bucket(s) for s in fact.value if "bucket" in s]
    if packages:
        listed = "; ".join(f"{s['package']} {s['version']} ({s['licence']}), {s['url']}" for s in packages)
        sentences.append(
            f"The built-in articles' text is this project's own, their pictures come from packages: {listed}."
        )
    return computed(" ".join(sentences), fact)


def _bucket(source: dict[str, Any]) -> str:
    how = f"the search {source['query']!r}" if "query" in source else "a list of PMCIDs"
    how = f"the inventory of {source['inventory'][:10]}" if "inventory" in source else how
    return f"Articles were fetched from PubMed Central, {source['bucket']} at {source['endpoint']}, by {how}."


def sources(facts: Facts) -> list[Part | None]:
    """Each source that was seen in training, else where articles were fetched from; and text of nobody else's."""
    seen = [large_sources(facts), small_sources(facts), own_sources(facts)]
    listed = [part for part in seen if part and part.tables]
    return [*listed, own_text(facts)] if listed else [acquired(facts)]


def all_public(facts: Facts, what: str) -> Part | None:
    """A plain no, where each source in the lineage is open to anyone. `what`: a sentence on what there is not."""
    fact = facts.get("seen.sources")
    if fact is None or not fact.value or not all(source["kind"] in _PUBLIC for source in fact.value):
        return None
    return computed(f"No: {what}; each of the {len(fact.value):,} sources in this lineage is open to anyone.", fact)


def large_sources(facts: Facts) -> Part | None:
    """The public sources that hold at least 3 % of the images or of the text, one row each."""
    return _sources(facts, True)


def small_sources(facts: Facts) -> Part | None:
    """The rest of the public sources, in sum."""
    return _sources(facts, False)


def _sources(facts: Facts, large: bool) -> Part | None:
    fact, languages = facts.get("seen.sources"), facts.get("seen.languages")
    open_to_all = _open(fact) if fact else []
    if fact is None or not open_to_all:
        return None
    totals = {key: sum(source[key] for source in open_to_all) for key in ("images", "text_tokens")}
    chosen = [source for source in open_to_all
              if any(source[key] >= LARGE * total > 0 for key, total in totals.items()) == large]  # fmt: skip
    if not large and not chosen:
        return computed(f"None: all public sources ({len(open_to_all):,}) are listed above.", fact)
    what = "at least 3 %" if large else "less than 3 %"
    spoken = f", in {', '.join(LANGUAGES.get(code, code) for code in languages.value)}" if languages else ""
    return computed(
        f"{len(chosen):,} of {len(open_to_all):,} public sources with {what} of the images or of the text of them all. "
        f"{_holds(chosen)}{spoken}.",
        *([fact, languages] if languages else [fact]),
        tables=[table(f"Sources of {what}", _HEADER, [_source(source, totals) for source in chosen])],
    )


def modalities(facts: Facts) -> Part | None:
    """What the public sources hold: packages of pictures no text."""
    fact = facts.get("seen.sources")
    kinds = {source["kind"] for source in _open(fact)} if fact else set()
    if fact is None or not kinds:
        return None
    return computed("Image." if kinds == {"package"} else "Text and image.", fact)


def _holds(chosen: list[dict[str, Any]]) -> str:
    """What some public sources hold."""
    if all(source["kind"] == "package" for source in chosen):
        return "Modality: image. Content: medical pictures; the text tokens are those of the captions written for them"
    return "Modalities: text and image. Content: figures of biomedical articles and their captions"


_HEADER = ("name and version", "link", "acquired", "licences, by figure", "images", "text tokens")


def _source(source: dict[str, Any], totals: dict[str, int]) -> tuple[str, ...]:
    name = f"{source['name']} {source['version'] or ''}".strip()
    sizes = (f"{source[key]:,} ({share(source[key], total)})" for key, total in totals.items())
    return name, source["link"] or "no link", _span(source), listed(source["licences"], LICENCE_WORDS), *sizes


def own_sources(facts: Facts) -> Part | None:
    """Files that the provider brought itself: whether anyone can get them, no lineage tells."""
    fact = facts.get("seen.sources")
    brought = [source for source in fact.value if source["kind"] not in _PUBLIC] if fact else []
    if fact is None or not brought:
        return None
    totals = {key: sum(source[key] for source in fact.value) for key in ("images", "text_tokens")}
    shown = table("Files that the provider brought", _HEADER, [_source(source, totals) for source in brought])
    return computed(
        f"Files that the provider brought itself (sources: {len(brought):,}): whether anyone can get them is for the "
        "provider to say.",
        fact,
        tables=[shown],
    )


def _span(source: dict[str, Any]) -> str:
    days = [month(day) for day in (source["first"], source["latest"]) if day]
    return " to ".join(dict.fromkeys(days)) or "not known"


def selection(facts: Facts) -> Part | None:
    """How a part of the sources was chosen: what each step kept."""
    fact = facts.get("cleaning")
    steps = [step for step in fact.value
             if step["step"].startswith("corpus") and step["records"] == "figures"] if fact else []  # fmt: skip
    if fact is None or not steps:
        return None
    kept, found = (sum(step[key] for step in steps) for key in ("kept", "in"))
    return computed(
        f"Of the {found:,} figures found in them {kept:,} were kept; what was left out, and why, stands in 3.3.a.", fact
    )


def publishers(facts: Facts, small: bool) -> Part | None:
    """Publishers, journals and hosts with their shares."""
    found: list[tuple[Fact, Table]] = []
    figures = facts.get("seen.figures_found")  # few state a host, some several
    for name in ("publishers", "journals", "hosts"):
        fact = facts.get(f"seen.{name}") or facts.get(f"data.{name}")
        shown = ranking(fact, name, small, figures.value if figures and name == "hosts" else 0)
        if fact and shown:
            found.append((fact, shown))
    if not found:
        return None
    return computed(
        "Who published the articles, by figure.", *(fact for fact, _ in found), tables=[shown for _, shown in found]
    )


def synthetic(facts: Facts) -> Part | None:
    """Whether AI made data, and what fixed rules made."""
    fact = facts.get("made_by")
    if fact is None:
        return None
    ai = [f"{model['name']} {model.get('version', '')}".strip() for model in fact.value if model.get("ai", True)]
    rules = [model["name"] for model in fact.value if not model.get("ai", True)]
    sentence = f"Yes: by {', '.join(ai)}." if ai else "No: no step of this lineage had data made by an AI model."
    if rules:
        sentence += f" Conversations by {', '.join(rules)} were written by fixed rules from captions; this is not AI."
    seen = facts.get("seen.synthetic")
    if ai and seen:
        sentence += (
            f" Seen in training: {seen.value['conversations']:,} such conversations of "
            f"{seen.value['text_tokens']:,} text tokens, {100 * seen.value['share']:.1f} % of all."
        )
    text = f"{sentence} Whether the articles' authors used AI is not known."
    return computed(text, fact, *([seen] if ai and seen else []))


def makers(facts: Facts) -> list[dict[str, Any]]:
    """The AI models that made data: {name, version, prompt_hash, and where known dates and counts}."""
    seen = facts.get("seen.synthetic")
    if seen and seen.value["teachers"]:
        return [teacher for teacher in seen.value["teachers"] if teacher.get("ai", True)]
    made = facts.get("made_by")
    return [model for model in made.value if model.get("ai", True)] if made else []


def made_when(facts: Facts) -> Part | None:
    """What AI models made of the text seen: when, how much, by which prompt."""
    fact = facts.get("seen.synthetic")
    teachers = [one for one in fact.value["teachers"] if one.get("ai", True)] if fact else []
    if fact is None or not teachers:
        return None
    header = ("model", "prompt (SHA-256)", "made", "conversations", "text tokens")
    rows = [(one["name"], one.get("prompt_hash") or "not known",
             " to ".join(dict.fromkeys(filter(None, (one.get("first"), one.get("latest"))))) or "not known",
             one["conversations"], one["text_tokens"]) for one in teachers]  # fmt: skip
    return computed("What they made.", fact, tables=[table("Made by AI models, seen in training", header, rows)])


def base_unknown(facts: Facts) -> Part | None:
    """What the base weights had seen is not in the lineage."""
    if not pretrained(facts):
        return None
    return computed("Whether the base weights were trained on such data is not known from this lineage.", facts["base"])


def bases(facts: Facts) -> Part | None:
    """The models that this one is a modification of, each pinned."""
    if "base" not in facts:
        return None
    parts = parts_of(facts)
    if not parts:
        return computed("None: all weights started random.", facts["base"])
    rows = [(p["role"], p["name"], p["licence"], f"{p['source']} (SHA-256 {p['sha256']})") for p in parts]
    shown = table("Models that this one was made from", ("part", "weights", "licence", "where from"), rows)
    sentence = f"This model is a modification of {len(parts)} models; the data of that modification alone are counted."
    return computed(sentence, facts["base"], tables=[shown])


def delta_base(facts: Facts) -> Part | None:
    """The model that a delta was applied to."""
    fact = facts.get("delta.base")
    if fact is None:
        return None
    return computed(f"Its weights were restored from a delta on {fact.value['name']}.", fact)


def copyrighted(facts: Facts) -> Part | None:
    """What is under copyright, by licence."""
    fact = facts.get("seen.licences") or facts.get("collected.licences") or facts.get("data.licences")
    if fact is None:
        return None
    sentence = (
        "Yes: articles are under their authors' or publishers' copyright, except those in the public domain. Licences, "
        f"by figure: {listed(fact.value, LICENCE_WORDS)}."
    )
    return computed(f"{sentence} Where none was found, none may be assumed." if "unknown" in fact.value else sentence,
                    fact)  # fmt: skip


def cleaning(facts: Facts) -> Part | None:
    """What each step kept, and left out by reason."""
    fact = facts.get("cleaning")
    if fact is None or not fact.value:
        return None
    steps = []
    for step in fact.value:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(step["excluded"].items()) if n)
        kept = f"{step['step']}: {step['kept']:,} of {step['in']:,} {step['records']} kept"
        steps.append(f"{kept} (excluded: {reasons})" if reasons else kept)
    return computed(
        f"Yes. {'; '.join(steps)}. Excluded records stay in each step's `excluded/` with their reason.", fact
    )


def steps(facts: Facts) -> Part | None:
    """What each step kept and left out, as a table."""
    fact = facts.get("cleaning")
    if fact is None or not fact.value:
        return None
    rows = [(step["step"], step["records"], step["in"], step["kept"], _reasons(step))
            for step in fact.value]  # fmt: skip
    left_out = sum(step["in"] - step["kept"] for step in fact.value)
    header = ("step", "records", "in", "kept", "left out, and why")
    return computed(
        f"Yes: {len(rows):,} steps left out {left_out:,} records; each is kept apart with its reason.",
        fact,
        tables=[table("What each step kept and left out", header, rows)],
    )


def _reasons(step: dict[str, Any]) -> str:
    words = {} if step["records"] in ("conversations", "turns") else REASONS  # whose reasons say it themselves
    found = [f"{n:,} {words.get(key, key.replace('_', ' '))}" for key, n in ranked(step["excluded"]) if n]
    return "; ".join(found) or "none"


def purposes(facts: Facts) -> Part | None:
    """What the steps are for."""
    fact = facts.get("cleaning")
    if fact is None or not fact.value:
        return None
    return computed(
        "What for: to train on what could be read, was chosen by the rules of the build, and fits the model's length.",
        fact,
    )


def resized(facts: Facts) -> Part | None:
    """How small pictures were made."""
    fact = facts.get("collected.max_side")
    return computed(f"Images were reduced to at most {fact.value} pixels a side.", fact) if fact else None


def removed(facts: Facts, *names: str) -> Part | None:
    """What was left out before training, by the names of `REMOVED`."""
    found = [(name, facts[f"removed.{name}"]) for name in names if f"removed.{name}" in facts]
    if not found:
        return None
    counts = "; ".join(f"{fact.value:,} {REMOVED[name]}" for name, fact in found)
    return computed(f"Left out before training: {counts}.", *(fact for _, fact in found))


def shares_of_licences(facts: Facts) -> Table | None:
    """Licences with their shares."""
    fact = facts.get("seen.licences") or facts.get("data.licences")
    if fact is None or not fact.value:
        return None
    total = sum(fact.value.values())
    rows = [(LICENCE_WORDS.get(code, code), n, share(n, total)) for code, n in fact.value.items()]
    return table("Licences, by figure", ("licence", "figures", "share"), rows)


def own_text(facts: Facts) -> Part | None:
    """The text of the built-in articles, which is nobody else's."""
    fact = facts.get("collected.sources")
    if fact is None or not any("package" in source for source in fact.value):
        return None
    return computed(
        "Text: titles, captions and sentences of the built-in articles, in English, written for llavamed around the "
        "packages' pictures, and free of rights (CC0 1.0).",
        fact,
    )


def by_rules(facts: Facts) -> Part | None:
    """Conversations that fixed rules wrote, from no source of others."""
    fact = facts.get("made_by")
    rules = [model for model in fact.value if not model.get("ai", True)] if fact else []
    if fact is None or not rules:
        return None
    names = ", ".join(f"{model['name']} {model.get('version', '')}".strip() for model in rules)
    return computed(
        f"Text: questions and answers in English about figures, written by fixed rules ({names}) from captions and "
        "kinds of image, without an AI model. For alignment each caption is taken as it is, after a question of fixed "
        "wording.",
        fact,
    )


def amount_by_rules(facts: Facts) -> Part | None:
    """How much of the text fixed rules wrote."""
    fact = facts.get("seen.synthetic")
    made = [one for one in fact.value["teachers"] if not one.get("ai", True)] if fact else []
    if fact is None or not made:
        return None
    amounts = "; ".join(
        f"{one['name']}: {one['conversations']:,} conversations of {one['text_tokens']:,} text tokens" for one in made
    )
    return computed(f"Seen in training: {amounts}.", fact)
