"""What no machine can know about a model: who made it, what it is called, what it is for. YAML, all of it optional.

`profile.yaml` beside this file is what `llavamed summary init` writes: every key with its meaning, the fields of the
forms that it fills, and an example.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from llavamed import storage
from llavamed.errors import InputError

TEMPLATE = Path(__file__).with_name("profile.yaml")
MONTH = re.compile(r"(0[1-9]|1[0-2])/([12]\d{3})")


def _day(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError(f"{text} is no day: write YYYY-MM-DD")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"{text} is no day of the calendar: mend the date") from None


def _month(text: str) -> str:
    if not MONTH.fullmatch(text):
        raise ValueError(f"{text} is no month: write MM/YYYY")
    return text


def _when(text: str) -> str:
    return text if MONTH.fullmatch(text) else _day(text) if "-" in text else _month(text)


def _text(text: str) -> str:
    if text.lower().rstrip(". :") == "not applicable":
        raise ValueError("say why: write `not applicable: ` and the reason")
    return text


Text = Annotated[str, AfterValidator(_text)]  # "not applicable: why" is shown as that
Day = Annotated[str, AfterValidator(_day)]  # YYYY-MM-DD
Month = Annotated[str, AfterValidator(_month)]  # MM/YYYY
When = Annotated[str, AfterValidator(_when)]  # either
Modalities = tuple[Literal["text", "image", "audio", "video", "other"], ...]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Previous(_Part):
    """An earlier version of the summary."""

    version: str
    link: str


class Provider(_Part):
    """Who answers for the model. `small`: a small or medium-sized enterprise, which may list fewer domains."""

    name: Text
    contact: Text | None = None
    representative: Text | None = None
    small: bool = False


class Model(_Part):
    """A model that the summary is about."""

    name: str
    version: str | None = None
    link: str | None = None
    documentation: tuple[str, ...] = ()
    released: Day | None = None
    placed_on_market: Day | None = None


class Base(_Part):
    """A model that this one was made from, by its name in the lineage."""

    name: str
    link: str | None = None
    summary: Text | None = None


class Content(_Part):
    """How much of a modality there is, and what."""

    size: Text | None = None
    content: Text | None = None


class Data(_Part):
    """The training data as a whole."""

    text: Content = Content()
    image: Content = Content()
    audio: Content = Content()
    video: Content = Content()
    other: Content = Content()
    languages: Text | None = None
    regions: Text | None = None
    demographics: Text | None = None
    characteristics: Text | None = None
    counting: Text | None = None


class Collection(_Part):
    """When the data were acquired and used."""

    earliest: When | None = None
    latest: When | None = None
    continues: bool | None = None
    first_used: Day | None = None


class Dataset(_Part):
    """A data set of others, by the name, the version and the link that they give it."""

    name: str
    version: str | None = None
    link: str | None = None
    modalities: Modalities = ()
    content: str | None = None
    languages: str | None = None
    first: Month | None = None
    latest: Month | None = None
    selection: str | None = None


class Public(_Part):
    """Data sets that anyone can get."""

    used: bool | None = None
    datasets: tuple[Dataset, ...] = ()
    selection: Text | None = None
    others: Text | None = None
    comments: Text | None = None


class Licensed(_Part):
    """Data under commercial licences of rightsholders."""

    used: bool | None = None
    modalities: Modalities = ()
    agreements: Text | None = None


class Private(_Part):
    """Data sets of other third parties that are not public."""

    used: bool | None = None
    modalities: Modalities = ()
    datasets: tuple[Dataset, ...] = ()
    others: Text | None = None
    comments: Text | None = None


class Crawler(_Part):
    """A program that fetched pages."""

    name: str
    purpose: str
    first: Month
    latest: Month


class Crawled(_Part):
    """Data crawled or scraped from the web, by the provider or for it. `domains`: name -> bytes fetched from it."""

    used: bool | None = None
    modalities: Modalities = ()
    crawlers: tuple[Crawler, ...] = ()
    robots: Text | None = None
    captchas: Text | None = None
    passwords: Text | None = None
    paywalls: Text | None = None
    protocols: Text | None = None
    behaviour: Text | None = None
    sites: Text | None = None
    regions: Text | None = None
    languages: Text | None = None
    demographics: Text | None = None
    domains: dict[str, int] | None = None
    comments: Text | None = None


class Users(_Part):
    """Data of the provider's users."""

    interactions: bool | None = None
    other_services: bool | None = None
    services: Text | None = None
    modalities: Modalities = ()
    comments: Text | None = None


class Maker(_Part):
    """An AI model that made data, by its name in the lineage. `on_market`: sold or given away in the Union."""

    name: str
    on_market: bool | None = None
    summary: Text | None = None
    training_data: Text | None = None


class Synthetic(_Part):
    """Data made by AI models."""

    used: bool | None = None
    modalities: Modalities = ()
    models: tuple[Maker, ...] = ()
    comments: Text | None = None


class Other(_Part):
    """Data from nowhere else."""

    used: bool | None = None
    description: Text | None = None
    comments: Text | None = None


class Rights(_Part):
    """How reservations of rights are kept."""

    code_of_practice: bool | None = None
    robots: Text | None = None
    opt_outs: Text | None = None
    requests: Text | None = None
    measures: Text | None = None
    policy: Text | None = None


class Profile(_Part):
    """The stated part of a summary. What is missing is "not stated" there."""

    version: str | None = None
    updated: Day | None = None
    previous: tuple[Previous, ...] = ()
    changes: Text | None = None
    link: str | None = None
    announced: Text | None = None
    provider: Provider | None = None
    models: tuple[Model, ...] = ()
    bases: tuple[Base, ...] = ()
    purpose: Text | None = None
    data: Data = Data()
    collection: Collection = Collection()
    public: Public = Public()
    licensed: Licensed = Licensed()
    private: Private = Private()
    crawled: Crawled = Crawled()
    users: Users = Users()
    synthetic: Synthetic = Synthetic()
    other: Other = Other()
    rights: Rights = Rights()
    illegal_content: Text | None = None
    other_measures: Text | None = None
    personal_information: Text | None = None
    consumer_information: Text | None = None
    protection: Text | None = None
    cleaning: Text | None = None

    @property
    def is_small(self) -> bool:
        """Whether the rules for small providers hold."""
        return bool(self.provider and self.provider.small)


def read_profile(path: Path) -> Profile:
    """Read and check a profile. A key without a value counts as not there.

    Raises:
        InputError: no such file, not YAML, an unknown key, an impossible date, dates that contradict each other, or a
            version given twice; the message names the key.
    """
    try:
        # every value stays text, so that 1.10 is no number and 2026-02-30 fails under its key
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 (makes text alone)
        profile = Profile.model_validate(_filled(settings) or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "profile"
        unknown = first["type"] == "extra_forbidden"
        what = "unknown key: remove it or mend its name" if unknown else first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {key}: {what}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a profile in YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}: mend the YAML") from None
    for problem in contradictions(profile):
        raise InputError(f"{path}: {problem}")
    return profile


def init(path: Path, *, force: bool = False) -> None:
    """Write an empty profile to fill in.

    Raises:
        InputError: `path` is a folder, or a file that `force` does not replace.
    """
    if path.is_dir() or (path.exists() and not force):
        remedy = "name a file in it" if path.is_dir() else "name another, or --force to replace it"
        raise InputError(f"{path} is there already: {remedy}")
    storage.write_text(path, TEMPLATE.read_text(encoding="utf-8"))


def contradictions(profile: Profile, first_used: str | None = None) -> Iterator[str]:
    """What cannot be so: a model that was out before its data were used, a version that is an earlier one too.

    `first_used`: the day of the first training, where the lineage tells it.
    """
    stated = profile.collection.first_used
    days = [(stated, "collection.first_used"), (first_used, "the beginning of the training")]
    for index, model in enumerate(profile.models):
        for key, day in (("released", model.released), ("placed_on_market", model.placed_on_market)):
            for first, what in days:
                if day and first and day < first:
                    yield f"models.{index}.{key}: {day} lies before {what} ({first}): mend the date"
    versions = [*(earlier.version for earlier in profile.previous), *([profile.version] if profile.version else [])]
    for version in versions:
        if versions.count(version) > 1:
            yield f"previous: the version {version} is there twice: each version has a number of its own"
    spans = [("collection", profile.collection.earliest, profile.collection.latest)]
    spans += [(f"crawled.crawlers.{n}", crawler.first, crawler.latest)
              for n, crawler in enumerate(profile.crawled.crawlers)]  # fmt: skip
    for key, first, latest in spans:
        if first and latest and _ordered(first) > _ordered(latest):
            yield f"{key}: it ends ({latest}) before it begins ({first}): mend the months"


def as_month(when: str) -> str:
    """A day or a month as MM/YYYY."""
    return f"{when[5:7]}/{when[:4]}" if "-" in when else when


def _ordered(when: str) -> str:
    month = as_month(when)
    return f"{month[3:]}-{month[:2]}"


def _filled(value: Any) -> Any:
    """What holds something: keys without a value are left out."""
    if isinstance(value, dict):
        found = {key: _filled(part) for key, part in value.items()}
        return {key: part for key, part in found.items() if part not in (None, {}, [])} or None
    if isinstance(value, list):
        return [part for part in map(_filled, value) if part is not None]
    return None if value in ("", "~", "null") else value
