import pytest

from llavamed.corpus.licences import code_of

CC = "http://creativecommons.org/licenses"


@pytest.mark.parametrize(
    ("url", "statement", "kind", "code"),
    [
        (f"{CC}/by/4.0/", "", "", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by-nc-nd/3.0/deed.en", "", "", "CC-BY-NC-ND-3.0"),
        (f"{CC}/by-nc-sa/4.0/", "", "", "CC-BY-NC-SA-4.0"),
        (f"{CC}/CC-BY/4.0", "", "", "CC-BY-4.0"),
        ("https://creativecommons.org/license/by/4.0", "", "", "CC-BY-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "", "", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "", "", "PDM-1.0"),
        (None, f"See {CC}/by-sa/2.5 for terms.", "", "CC-BY-SA-2.5"),
        (None, "distributed under the Creative Commons Attribution License (CC BY).", "", "CC-BY"),
        (None, "under the Creative Commons Attribution 4.0 International License", "", "CC-BY-4.0"),
        (None, "Creative Commons Attribution-NonCommercial 3.0 Unported", "", "CC-BY-NC-3.0"),
        (None, "Creative Commons Attribution Non-Commercial No Derivatives licence", "", "CC-BY-NC-ND"),
        (None, "This is CC BY-NC-SA 4.0.", "", "CC-BY-NC-SA-4.0"),
        (None, "", "creativeCommonsBy-nc", "CC-BY-NC"),
        (None, "which permits unrestricted use, distribution, and reproduction in any medium", "", "CC-BY"),
        (None, "which permits unrestricted non-commercial use, distribution, and reproduction", "", "CC-BY-NC"),
        (None, "the Creative Commons CC0 public domain dedication", "", "CC0-1.0"),
        (None, "Creative Commons License BY-NC-ND 4.0", "", "CC-BY-NC-ND-4.0"),
        (None, "licensed under Creative Commons by the authors", "", "other"),
        (None, "Creative Commons Attribution License; commercial and non-commercial use is allowed.", "", "CC-BY"),
        (
            None,
            "CC BY 4.0. The Creative Commons Public Domain Dedication waiver (http://creativecommons.org/publicdomain/"
            "zero/1.0/) applies to the data.",
            "",
            "CC-BY-4.0",
        ),
        (None, "This picture is not in the public domain.", "", "other"),
        (None, "This file is available for text mining.", "", "TDM"),
        (None, "This work is in the public domain.", "", "PDM-1.0"),
        ("https://opensource.org/license/mit", "", "", "MIT"),
        ("https://opensource.org/license/bsd-3-clause", "", "", "BSD-3-Clause"),
        ("https://www.example.com/terms", "All rights reserved.", "", "other"),
        (None, "All rights reserved.", "", "other"),
        (None, "", "", "none-stated"),
        (
            f"{CC}/by-n/4.0/",
            "which permits use and is not used for commercial purposes.",
            "creativeCommonsBy-nc",
            "CC-BY-NC",
        ),
    ],
)
def test_code(url, statement, kind, code):
    assert code_of(url, statement, kind) == code
