"""Article packages for tests: JATS text, pictures, archives."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
LICENCE = '<license xlink:href="https://creativecommons.org/licenses/by/4.0/"><license-p>Open.</license-p></license>'


def jats(
    body: str = "", *, ids: str = "pmc:77,pmid:88", floats: str = "", permissions: str = LICENCE, attributes: str = ""
) -> bytes:
    """An article with the given body; `ids` as kind:value pairs."""
    found = "".join('<article-id pub-id-type="{}">{}</article-id>'.format(*x.split(":")) for x in ids.split(",") if x)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><article article-type="case-report" {attributes} {XLINK}><front>'
        "<journal-meta><journal-title-group><journal-title>J Test</journal-title></journal-title-group>"
        "<publisher><publisher-name>P Test</publisher-name></publisher></journal-meta>"
        f"<article-meta>{found}<title-group><article-title>A title</article-title></title-group>"
        '<pub-date pub-type="epub"><year>2019</year></pub-date><pub-date pub-type="collection"><year>2020</year>'
        f"</pub-date><permissions>{permissions}</permissions></article-meta></front><body>{body}</body>"
        f"<floats-group>{floats}</floats-group></article>"
    ).encode()


def fig(n: int, caption: str = "Chest X-ray.", label: str | None = None, graphic: str | None = None) -> str:
    """A `<fig>` with id Fn."""
    label = f"Figure {n}" if label is None else label
    image = f'<graphic xlink:href="{graphic or f"g{n}"}"/>' if graphic != "" else ""
    return f'<fig id="F{n}"><label>{label}</label><caption><p>{caption}</p></caption>{image}</fig>'


def cite(n: int | str, text: str | None = None) -> str:
    """A citation of figure Fn."""
    return f'<xref ref-type="fig" rid="F{n}">{text or f"Fig. {n}"}</xref>'


def pixels(seed: int = 0, side: int = 48) -> Image.Image:
    """A picture of its own for each seed."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def package(folder: Path, name: str, n: int = 2, xml: bytes | None = None) -> Path:
    """`folder/name/name.nxml` with `n` figures and their images."""
    number = "".join(c for c in name if c.isdigit())
    body = "".join(f"<p>Seen ({cite(i)}).</p>{fig(i)}" for i in range(1, n + 1))
    (folder / name).mkdir(parents=True)
    (folder / name / f"{name}.nxml").write_bytes(xml or jats(body, ids=f"pmc:{number}"))
    for i in range(1, n + 1):
        pixels(int(number or 0) * 10 + i).save(folder / name / f"g{i}.jpg")
    return folder / name


def archive(path: Path, members: dict[str, bytes | str], mode: str = "w:gz") -> Path:
    """A tar of `members` (or pairs, for a name twice); a str is the target of a symbolic link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path
