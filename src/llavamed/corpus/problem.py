"""One bad record among many."""


def printable(name: str) -> str:
    """`name` as UTF-8 can hold it: file names may have bytes that are none."""
    return name.encode("utf-8", "replace").decode()


# Every reason to leave something out of a corpus -> what it means to a reader of its page.
REASONS = {
    # the article
    "archive_broken": "the archive cannot be read to its end",
    "archive_too_large": "the archive unpacks to more than is safe",
    "duplicate_article": "the article is there more than once: its best copy is kept",
    "empty_file": "the file is empty",
    "no_article": "no article in the archive",
    "not_jats": "XML, but no article in JATS",
    "not_xml": "no well-formed XML",
    "too_many_mentions": "more citations of figures than any article has",
    "too_much_text": "more text than any article has",
    "unreadable": "the file cannot be opened",
    "unsafe_archive": "the archive names files outside itself",
    "xml_too_large": "the XML is larger than any article",
    # the record
    "duplicate_row": "an earlier row names the same picture",
    "no_caption": "no caption: a conversation that a model wrote",
    "no_caption_row": "a picture that no row names",
    "parquet_broken": "the Parquet file cannot be read",
    "path_outside": "the file named is outside the folder",
    "record_broken": "the record cannot be read",
    "record_too_large": "the record is larger than any caption",
    "text_too_long": "the text is longer than any caption",
    # the picture
    "dicom_broken": "no whole DICOM file",
    "dicom_unsupported": "a DICOM whose picture cannot be decoded here",
    "dicom_without_pixels": "a DICOM without a picture, such as a report",
    "image_broken": "the picture cannot be decoded",
    "image_missing": "the picture is not there",
    "image_too_large": "the picture is larger than is safe",
    "no_graphic": "the figure names no picture",
    "vector_image": "a vector drawing, of which there is no picture",
    # the choice
    "article_type": "not one of --article-types",
    "compound": "a compound figure (--single)",
    "duplicate_figure": "the same figure, from two sources: the larger is kept",
    "duplicate_image": "an earlier article or file has the same picture",
    "in_test_set": "in a test set, or too like one of its pictures (--against)",
    "kind": "not one of --kinds",
    "language": "not one of --languages",
    "licence": "the licence is not allowed (--licences)",
    "near_duplicate_image": "an earlier article or file has almost the same picture (--duplicates near)",
    "opt_out": "its owners opted out (--opt-out)",
    "retracted": "the article is retracted",
    "too_small": "smaller than --min-side",
    "year": "not in --years",
}


class Problem(Exception):
    """Why a record is left out: `reason` is a short key that is counted, `detail` says which file and what."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = printable(detail)[:500]
