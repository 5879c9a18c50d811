"""The table of figures, and the rules that give a figure its id and its split."""

import hashlib
import json

import pyarrow as pa

SPLITS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)  # of articles

# Kinds of image: key -> the words people use for one. The keys are what tables hold.
KINDS = {
    "chest_xray": "chest X-ray",
    "radiograph": "radiograph",
    "ct": "CT scan",
    "mri": "MRI scan",
    "ultrasound": "ultrasound image",
    "nuclear": "nuclear medicine image",
    "histology": "histology image",
    "microscopy": "microscopy image",
    "gross": "gross pathology photograph",
    "endoscopy": "endoscopy image",
    "fundus_oct": "retinal image",
    "clinical_photo": "clinical photograph",
    "plot": "plot",
    "diagram": "diagram",
    "gel_blot": "gel or blot",
    "other": "other image",
}
# The five domains of LLaVA-Med's instruction data: domain -> kind of image.
DOMAINS = {"chest_xray": "chest_xray", "ct_scan": "ct", "gross": "gross", "histology": "histology", "mri": "mri"}

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_DOMAIN = pa.struct([(name, pa.bool_()) for name in DOMAINS])
_MODALITY = pa.list_(pa.struct([("name", pa.string()), ("confidence", pa.float32()), ("source", pa.string())]))
_PANELS = pa.list_(
    pa.struct([("box", pa.list_(pa.int32())), ("label", pa.string()), ("subcaption", pa.string())])
)  # box: left, top, right, bottom in pixels of the stored image

_STRINGS = pa.list_(pa.string())
_TEXT = [
    *((name, pa.string()) for name in ("pair_id", "pmcid", "pmid", "doi", "version", "title", "journal", "publisher")),
    ("year", pa.int32()),
    ("published", pa.string()),  # ISO date, as precise as it is stated
    *((name, pa.string()) for name in ("language", "article_type", "sub_article")),  # such as reply
    ("subjects", _STRINGS),
    *((name, pa.string()) for name in ("licence", "licence_url")),
    ("retracted", pa.bool_()),
    ("notices", _STRINGS),  # of retraction, correction, concern: kind and DOI
    ("hosts", _STRINGS),  # where the article says it is published
    *((name, pa.string()) for name in ("fig_id", "fig_label", "fig_caption")),
    ("panel", pa.string()),  # of a row that was cut out of a figure: its letter or number, the end of `pair_id`
    ("in_text_mention", _STRINGS),
    (
        "mention_source",
        _STRINGS,
    ),  # of each mention: xref (a tagged citation), range ("Figs 2-4"), text (untagged), given (by a set)
]
TEXT = tuple(name for name, _ in _TEXT)


def with_features(schema: pa.Schema) -> pa.Schema:
    """The schema with the metadata by which `datasets.load_dataset` shows an `image` column as pictures."""
    features = {field.name: _feature(field.type) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)})


def _feature(kind: pa.DataType) -> object:
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    names = {"double": "float64", "float": "float32"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


FIGURES = with_features(
    pa.schema(
        [
            *_TEXT,
            ("image", IMAGE),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("sha256", pa.string()),  # of the stored image bytes
            ("phash", pa.string()),  # 64-bit perceptual hash, hex
            ("modality", _MODALITY),
            ("domain", _DOMAIN),
            ("panels", _PANELS),
            ("single_plot", pa.bool_()),
            ("flags", _STRINGS),  # burned_in_text, part_missing
            ("split", pa.string()),
            ("source", pa.string()),  # the file it was read from, below SRC
            ("collected", pa.string()),  # when that file was made, YYYY-MM-DD
        ]
    )
)
EXCLUDED = pa.schema([*_TEXT, ("source", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


def split_of(article: str) -> str:
    """The split of an article's figures, from a hash of its id, so that one article, patient or series stays whole."""
    place = int.from_bytes(hashlib.sha256(article.encode()).digest()[:8]) / 2**64
    return "train" if place < SHARES[0] else "validation" if place < SHARES[0] + SHARES[1] else "test"
