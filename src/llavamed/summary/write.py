"""`llavamed summary write`: the training-data summary of a model, from its lineage."""

from pathlib import Path

from llavamed.errors import InputError
from llavamed.storage import Json
from llavamed.summary import render
from llavamed.summary.document import NOT_STATED, Document
from llavamed.summary.facts import Facts, gather
from llavamed.summary.forms import FORMS
from llavamed.summary.profile import Profile, contradictions, read_profile


def write(target: Path, file: Path, *, profile: Path | None = None, form: str = "combined") -> Json:
    """Write the summary of `target`, a trained model or the folder of a run, to `file`, in the format that its ending
    names, and beside it as JSON. The same model and profile give the same bytes.

    Returns `{file, json, conversations, images, text_tokens, not_stated: [field number]}`.

    Raises:
        InputError: `target` holds no trained model, the profile is wrong, or `file` is a folder or of another format.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder: name a file with -o, such as {file / 'summary.md'}")
    document, facts = make(target, profile, form)
    fields = [field for section in document.sections for field in section.fields]
    beside = file.with_suffix(".json")
    for path in (beside, file) if file != beside else (file,):
        render.write(document, facts, path)
    return {
        "file": str(file),
        "json": str(beside),
        **{key: facts[f"seen.{key}"].value for key in ("conversations", "images", "text_tokens")},
        "not_stated": [field.number for field in fields if NOT_STATED in field.basis],
    }


def make(target: Path, profile: Path | None, form: str) -> tuple[Document, Facts]:
    """The form of a model or a run, filled in, and the facts that it was filled from.

    Raises:
        InputError: no such form; what `gather` and `read_profile` raise; a release before the training began.
    """
    if form not in FORMS:
        raise InputError(f"--form {form}: name one of {', '.join(FORMS)}")
    stated = read_profile(profile) if profile else Profile()
    facts = gather(_model(target))
    first = facts.get("training.first")
    for problem in contradictions(stated, str(first.value) if first else None):
        raise InputError(f"{profile}: {problem}")
    return FORMS[form](facts, stated), facts


def _model(target: Path) -> Path:
    return (
        target if (target / "manifest.json").exists() or not (target / "assistant").is_dir() else target / "assistant"
    )
