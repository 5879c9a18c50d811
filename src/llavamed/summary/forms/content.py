"""Statements on the data themselves: how much there is, of what, from when. Each is None where the facts lack it."""

from collections.abc import Callable
from typing import Any

from llavamed.corpus.schema import DOMAINS, KINDS
from llavamed.summary.document import Table
from llavamed.summary.facts import Fact, Facts
from llavamed.summary.forms.bands import LISTED, band, boxes, required, share
from llavamed.summary.forms.parts import Part, computed, table

UNKNOWN = "not known"
# The official languages of the Union by ISO 639-1 code, and others that articles are often in.
UNION = {"bg": "Bulgarian", "hr": "Croatian", "cs": "Czech", "da": "Danish", "nl": "Dutch", "en": "English",
         "et": "Estonian", "fi": "Finnish", "fr": "French", "de": "German", "el": "Greek", "hu": "Hungarian",
         "ga": "Irish", "it": "Italian", "lv": "Latvian", "lt": "Lithuanian", "mt": "Maltese", "pl": "Polish",
         "pt": "Portuguese", "ro": "Romanian", "sk": "Slovak", "sl": "Slovenian", "es": "Spanish",
         "sv": "Swedish"}  # fmt: skip
LANGUAGES = UNION | {"zh": "Chinese", "ja": "Japanese", "ko": "Korean", "no": "Norwegian", "ru": "Russian",
                     "tr": "Turkish", "uk": "Ukrainian", "unknown": UNKNOWN}  # fmt: skip
_DOMAINS = {name: KINDS[kind] for name, kind in DOMAINS.items()}
KIND_WORDS = {**KINDS, "unknown": UNKNOWN}
LICENCE_WORDS = {"unknown": "no licence found", "none-stated": "no licence stated", "other": "another licence",
                 "TDM": "text and data mining allowed"}  # fmt: skip


def text_size(facts: Facts) -> Part | None:
    """How many text tokens, each record once."""
    if "seen.text_tokens" in facts:
        tokens, read, records, passes = (facts[f"seen.{key}"] for key in ("text_tokens", "text_tokens_read",
                                                                          "conversations", "passes"))  # fmt: skip
        return computed(
            f"{band(tokens.value, 'tokens')} tokens: {tokens.value:,} text tokens by the model's own tokenizer, in "
            f"{records.value:,} conversations, each counted once. In {passes.value:,} passes {read.value:,} were read.",
            tokens, read, records, passes,
        )  # fmt: skip
    if "data.words" not in facts:
        return None
    words, size, records = (facts[f"data.{key}"] for key in ("words", "bytes", "records"))
    # a tokenizer of bytes makes at most one token a byte
    least = f"{band(size.value, 'tokens')} tokens: " if size.value < 10**9 else ""
    return computed(
        f"{least}{words.value:,} words ({size.value:,} bytes of UTF-8) in {records.value:,} records, each counted once."
        " No model's tokenizer is known here.",
        words, size, records,
    )  # fmt: skip


def image_size(facts: Facts) -> Part | None:
    """How many pictures, each once."""
    if "seen.images" in facts:
        images, tokens, read = (facts[f"seen.{key}"] for key in ("images", "image_tokens", "image_tokens_read"))
        return computed(
            f"{band(images.value, 'images')} images: {images.value:,} figures of {tokens.value:,} image tokens, each "
            f"counted once. Over all passes {read.value:,} image tokens were read.",
            images, tokens, read,
        )  # fmt: skip
    images_of = facts.get("data.images")
    if images_of is None:
        return None
    return computed(f"{band(images_of.value, 'images')} images: {images_of.value:,} distinct pictures.", images_of)


def text_boxes(facts: Facts) -> Part | None:
    """The size of the text with the bands as boxes."""
    return _boxes(facts, "seen.text_tokens", "data.bytes", "tokens", text_size)


def image_boxes(facts: Facts) -> Part | None:
    """The number of pictures with the bands as boxes."""
    return _boxes(facts, "seen.images", "data.images", "images", image_size)


def _boxes(facts: Facts, key: str, instead: str, unit: str, size: Callable[[Facts], Part | None]) -> Part | None:
    part, fact = size(facts), facts.get(key) or facts.get(instead)
    if part is None or fact is None:
        return None
    return computed(f"{boxes(fact.value, unit)}. {part.text.partition(': ')[2]}", *part.facts)


def text_content(facts: Facts) -> Part | None:
    """What the text is."""
    stages = facts.get("seen.by_stage")
    if stages is None:
        return _records(facts)
    parts = ", ".join(f"{n:,} in stage {stage}" for stage, n in stages.value.items())
    sentence = f"Captions of figures in biomedical articles, and questions and answers made from them ({parts})."
    articles = facts.get("seen.articles")
    if articles:
        return computed(f"{sentence} They come from {articles.value:,} articles.", stages, articles)
    return computed(sentence, stages)


def _records(facts: Facts) -> Part | None:
    if "data.records" not in facts:
        return None
    records, talks, turns, unread = (facts[f"data.{key}"] for key in ("records", "conversations", "turns", "unread"))
    captions = records.value - talks.value
    return computed(
        f"{captions:,} pictures with captions and {talks.value:,} conversations of {turns.value:,} turns. "
        f"Records that could not be read: {unread.value:,}.",
        records, talks, turns, unread,
    )  # fmt: skip


def article_types(facts: Facts) -> Part | None:
    """Which types of article the figures are of."""
    return histogram(facts, "article_types", "Types of article, by figure", {"unknown": UNKNOWN})


def domains(facts: Facts) -> Part | None:
    """LLaVA-Med's five domains of images."""
    return histogram(facts, "domains", "Domains of LLaVA-Med's instruction data, by figure", _DOMAINS)


def kinds(facts: Facts) -> Part | None:
    """Which kinds of image were seen; where that is not known, which were collected."""
    what = "Kinds of image seen in training" if "seen.kinds" in facts else "Kinds of image, by record"
    seen = histogram(facts, "kinds", what, KIND_WORDS)
    images = facts.get("seen.images")
    if seen or images is None:
        return seen
    sentence = f"Figures of biomedical articles. Which kinds were among the {images.value:,} seen is not known here."
    collected = facts.get("collected.kinds")
    if collected is None:
        return computed(sentence, images)
    return computed(f"{sentence} Collected, seen or not: {listed(collected.value, KIND_WORDS)}.", images, collected)


def languages(facts: Facts) -> Part | None:
    """The languages of the articles, those of the Union among them."""
    fact = facts.get("seen.languages") or facts.get("data.languages")
    if not fact or not fact.value:
        return None
    ours = [UNION[code] for code in fact.value if code in UNION]
    union = f" Official languages of the Union among them: {', '.join(sorted(ours)) or 'none'}."
    return computed(f"Languages of the articles, by figure: {listed(fact.value, LANGUAGES)}.{union}", fact)


def years(facts: Facts) -> Part | None:
    """From when to when the articles were published."""
    fact = facts.get("seen.years") or facts.get("data.years")
    known = sorted(int(year) for year in fact.value if year != "unknown") if fact else []
    if fact is None or not known:
        return None
    return computed(f"Published {' to '.join(dict.fromkeys([str(known[0]), str(known[-1])]))}.", fact)


def latest(facts: Facts) -> Part | None:
    """The day of the latest acquisition."""
    fact = facts.get("collected.latest")
    return computed(f"{fact.value}.", fact) if fact else None


def latest_month(facts: Facts) -> Part | None:
    """The month of the latest acquisition, as the EU form has it."""
    fact = facts.get("collected.latest")
    return computed(f"{month(fact.value)}.", fact) if fact else None


def period(facts: Facts) -> Part | None:
    """From when to when data were acquired."""
    last, first = facts.get("collected.latest"), facts.get("collected.earliest")
    if last is None:
        return None
    return computed(f"{first.value} to {last.value}.", first, last) if first else latest(facts)


def ongoing(facts: Facts) -> Part | None:
    """Whether acquisition goes on, where the lineage tells."""
    fact = facts.get("collected.ongoing")
    return computed("Yes." if fact.value else "No.", fact) if fact else None


def first_use(facts: Facts) -> Part | None:
    """The day on which the first training began."""
    fact = facts.get("training.first")
    if fact is None:
        return None
    before = " The base weights were trained before." if pretrained(facts) else ""
    return computed(f"{fact.value}, in the earliest training that this lineage records.{before}", fact)


def counting(facts: Facts) -> Part | None:
    """How the sizes were counted: tokenizer, compression, passes."""
    tokens, stages = facts.get("seen.text_tokens"), facts.get("seen.by_stage_counts")
    if tokens is None:
        return None
    side = facts.get("collected.max_side")
    whose = [part["name"] for part in parts_of(facts) if part["role"] == "language model"]
    tokenizer = f"the tokenizer of {whose[0]}" if whose else "the model's own tokenizer"
    sentences = [
        f"Counted after cleaning and before training, each record once. Tokens: by {tokenizer}, the marks of its chat "
        "format included. Compression has no part in the sizes: they are tokens and pictures, not bytes."
    ]
    if side:
        sentences.append(
            f"Pictures were reduced to at most {side.value} pixels a side and stored as PNG (line art) or JPEG of "
            "quality 92."
        )
    tables: list[Table] = []
    if stages:
        header = ("stage", "conversations", "images", "text tokens", "image tokens", "passes")
        keys = ("conversations", "images", "text_tokens", "image_tokens", "passes")
        rows = [(stage, *(count[key] for key in keys)) for stage, count in stages.value.items()]
        tables.append(table("Each stage of training, its passes apart from its size", header, rows))
    return computed(
        " ".join(sentences), *(fact for fact in (tokens, side, stages, facts.get("base")) if fact), tables=tables
    )


def clinical(facts: Facts) -> Part | None:
    """How many pictures may show people."""
    known = facts.get("seen.kinds")
    fact = facts.get("seen.clinical_photos") or known or facts.get("collected.kinds")
    if fact is None:
        return None
    n = fact.value.get("clinical_photo", 0) if isinstance(fact.value, dict) else fact.value
    which = "collected" if fact is facts.get("collected.kinds") else "seen in training"
    types = facts.get("seen.article_types")
    reports = types.value.get("case-report", 0) if types else 0
    patients = f" {reports:,} are of case reports, which describe single patients." if reports else ""
    return computed(
        f"{n:,} of the figures {which} are classed as clinical photographs, which may show people.{patients} Names in "
        "the texts and faces in the pictures were not looked for.",
        *([fact, types] if types and reports else [fact]),
    )


def ranking(fact: Fact | None, what: str, small: bool, total: int = 0) -> Table | None:
    """The largest of many names with their shares: at least those that the rule on domains would ask for.

    `total`: of what they are shares, if not of the sum.
    """
    if fact is None or not fact.value:
        return None
    counts = {name: n for name, n in fact.value.items() if name != "unknown"}
    if not counts:
        return None
    total, must = total or sum(fact.value.values()), required(len(counts), small)
    shown = ranked(counts)[: max(must, LISTED)]
    rest = total - sum(n for _, n in shown)
    rows = [(name, n, share(n, total)) for name, n in shown]
    rows += [("others and not known", rest, share(rest, total))] if rest > 0 else []
    rule = "5 % or 1,000" if small else "10 %"
    caption = f"{len(shown):,} of {len(counts):,} {what}, the largest first; the largest {rule} are {must:,}"
    return table(caption, (what.removesuffix("s"), "figures", "share"), rows)


def histogram(facts: Facts, name: str, what: str, words: dict[str, str] | None = None) -> Part | None:
    """Counts of the figures seen, or of a data set's records, the most first."""
    fact = facts.get(f"seen.{name}") or facts.get(f"data.{name}")
    return computed(f"{what}: {listed(fact.value, words)}.", fact) if fact and fact.value else None


def listed(count: dict[str, int], words: dict[str, str] | None = None) -> str:
    """ "CT scan 12, MRI scan 3"."""
    return ", ".join(f"{(words or {}).get(key, key)} {n:,}" for key, n in ranked(count) if n)


def ranked(count: dict[str, int]) -> list[tuple[str, int]]:
    """The most first, the same number by name."""
    return sorted(count.items(), key=lambda item: (-item[1], item[0]))


def month(day: str) -> str:
    """YYYY-MM-DD as MM/YYYY."""
    return f"{day[5:7]}/{day[:4]}"


def pretrained(facts: Facts) -> bool:
    """Whether the model started from weights of others."""
    return "base" in facts and any(base["parts"] for base in facts["base"].value)


def parts_of(facts: Facts) -> list[dict[str, Any]]:
    """The models that this one was made from."""
    return [part for base in facts["base"].value for part in base["parts"]] if "base" in facts else []
