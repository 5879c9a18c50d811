"""`llavamed summary write`: the training-data summary of a model, from its lineage and its provider's profile."""

from pathlib import Path

from llavamed.errors import InputError
from llavamed.storage import Json
from llavamed.summary import render
from llavamed.summary.dataset import count, is_dataset
from llavamed.summary.document import NOT_STATED, Document
from llavamed.summary.facts import Facts, gather
from llavamed.summary.forms import FORMS
from llavamed.summary.profile import Profile, contradictions, read_profile

_COUNTED = ("seen.conversations", "seen.images", "seen.text_tokens", "data.records", "data.images", "data.words")


def write(target: Path | None, file: Path, *, profile: Path | None = None, form: str = "combined") -> Json:
    """Write the summary of `target` to `file`, in the format that its ending names, and beside it as JSON.

    `target`: a trained model, the folder of a run, a data set of others; or None: what the profile says, nothing else.
    The same model and profile give the same bytes. Returns `{file, json, form, version, not_stated: [field number]}`
    and how much was counted.

    Raises:
        InputError: what `make` raises; `file` is a folder, of another format, or would replace the data set.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder: name a file with -o, such as {file / 'summary.md'}")
    beside = file.with_suffix(".json")
    if target and beside.resolve() == target.resolve():
        raise InputError(f"{beside} would be replaced by the summary: name another file with -o")
    document, facts = make(target, profile, form)
    for path in dict.fromkeys((file, beside)):
        render.write(document, facts, path)
    fields = [field for section in document.sections for field in section.fields]
    return {
        "file": str(file),
        "json": str(beside),
        "form": form,
        "version": document.version,
        **{key.partition(".")[2]: facts[key].value for key in _COUNTED if key in facts},
        "not_stated": [field.number for field in fields if NOT_STATED in field.basis],
    }


def make(target: Path | None, profile: Path | None, form: str) -> tuple[Document, Facts]:
    """The form, filled in, and the facts that it was filled from.

    Raises:
        InputError: no such form; nothing to write about; what `gather`, `count` and `read_profile` raise; a release
            before the training began.
    """
    if form not in FORMS:
        raise InputError(f"--form {form}: name one of {', '.join(FORMS)}")
    if target is None and profile is None:
        raise InputError("nothing to write about: name a run, a model or a data set, or a profile with --profile")
    stated = read_profile(profile) if profile else Profile()
    facts = _facts(target) if target else {}
    first = facts.get("training.first")
    for problem in contradictions(stated, str(first.value) if first else None):
        raise InputError(f"{profile}: {problem}")
    return FORMS[form](facts, stated), facts


def _facts(target: Path) -> Facts:
    run = (target / "assistant").is_dir() and not (target / "manifest.json").exists()
    return count(target) if is_dataset(target) and not run else gather(target / "assistant" if run else target)
