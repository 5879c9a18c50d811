"""The named characters of the JATS DTDs: those of HTML 5, and the Greek letters that HTML lacks."""

import re
from html.entities import html5

# ISO 8879 and ISO 9573-13 (isogrk1, isogrk2): name -> letter.
_NAMES = (
    "agr bgr ggr dgr egr zgr eegr thgr igr kgr lgr mgr ngr xgr ogr pgr rgr sgr sfgr tgr ugr phgr khgr psgr ohgr "
    "aacgr eacgr eeacgr idigr iacgr oacgr udigr uacgr ohacgr idiagr udiagr"
)
_GREEK = dict(zip(_NAMES.split(), "αβγδεζηθικλμνξοπρσςτυφχψωάέήϊίόϋύώΐΰ", strict=True))
_LETTER = re.compile("ee|th|ph|kh|ps|oh|.")  # of a name, what is in upper case for the capital: "THgr"
_GREEK |= {
    _LETTER.sub(lambda match: match[0].upper(), name, count=1): letter.upper()
    for name, letter in _GREEK.items()
    if len(letter.upper()) == 1 and name != "sfgr"
}


def character(name: str) -> str | None:
    """The text that `&name;` stands for, None where nobody knows it; bold Greek (`b.alpha`, isogrk4) is plain."""
    return _GREEK.get(name) or html5.get(f"{name.removeprefix('b.')};")
