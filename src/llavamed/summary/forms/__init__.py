"""The forms of a training-data summary, all filled from the same facts and the same profile."""

from collections.abc import Callable

from llavamed.summary.document import Document
from llavamed.summary.facts import Facts
from llavamed.summary.forms.ab2013 import ab2013
from llavamed.summary.forms.combined import combined
from llavamed.summary.forms.eu import eu
from llavamed.summary.profile import Profile

FORMS: dict[str, Callable[[Facts, Profile], Document]] = {"combined": combined, "eu": eu, "ab2013": ab2013}
