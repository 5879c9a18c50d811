"""The README.md of a data set, with where `datasets.load_dataset` finds its splits; how a model's begins."""

import json
from collections.abc import Iterable

from llavamed.corpus.schema import SPLITS


def dataset_card(title: str, text: str, splits: Iterable[str], file: str = "data/{}-*.parquet") -> str:
    """A data set's card. `splits`: those that have a `file`; only these are loaded."""
    present = set(splits)
    files = [f"  - split: {name}\n    path: {file.format(name)}\n" for name in SPLITS if name in present]
    configs = "configs:\n- config_name: default\n  data_files:\n" + "".join(files) if files else ""
    return f"---\npretty_name: {json.dumps(title)}\n{configs}---\n# {title}\n\n{text.strip()}\n"


def model_head(licence: str = "") -> list[str]:
    """The lines that a model's card begins with."""
    stated = [f"license: {licence}"] if licence else []
    return ["---", "library_name: transformers", "pipeline_tag: image-text-to-text", *stated, "---"]
