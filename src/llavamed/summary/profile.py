"""What no machine can know about a model: its maker, its name, its purpose. A small YAML file, all of it optional."""

from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llavamed.errors import InputError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, str_min_length=1)


class Developer(_Part):
    """Who answers for the model."""

    name: str
    contact: Annotated[str | None, Field(description="e-mail or web address")] = None


class Model(_Part):
    """The model, as it is published."""

    name: str
    version: str | None = None
    released: Annotated[date | None, Field(description="YYYY-MM-DD")] = None


class Profile(_Part):
    """The stated part of a summary. What is missing is "not stated" there."""

    version: Annotated[str | None, Field(description="of the summary")] = None
    developer: Developer | None = None
    model: Model | None = None
    purpose: Annotated[str | None, Field(description="why these data were chosen")] = None
    collection_continues: Annotated[bool | None, Field(description="after the model is in use")] = None
    commercial_licences: Annotated[str | None, Field(description="licences bought from rightsholders, or none")] = None
    private_datasets: Annotated[str | None, Field(description="of other third parties, or none")] = None
    personal_information: Annotated[str | None, Field(description="in the data, and how it is dealt with")] = None
    consumer_information: Annotated[str | None, Field(description="about groups of consumers, without identities")] = (
        None
    )
    trademarks_patents: Annotated[str | None, Field(description="that protect data")] = None


def read_profile(path: Path) -> Profile:
    """Read and check a profile.

    Raises:
        InputError: no such file, not YAML, an unknown key, or an impossible date; the message names the key.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Profile.model_validate({} if settings is None else settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "profile"
        what = "unknown key: remove it or mend its name" if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(f"{path}: {key}: {what}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): name a profile in YAML") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2026-02-30
        raise InputError(f"{path}: {' '.join(str(error).split())}: mend the YAML") from None
