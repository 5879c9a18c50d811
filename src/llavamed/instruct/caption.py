"""What a caption says first: one clean sentence, without the marks that only make sense beside the text."""

import re

MIN_WORDS = 4  # "H&E stain." says too little alone: the next sentence is taken with it
MAX_WORDS = 60  # longer ones are lists of panels: cut at the first semicolon

_LABEL = re.compile(
    r"^\s*(?:(?:supplementary|supplemental|supporting|extended\s+data|additional)\s+)?"
    r"(?:fig(?:ure)?s?|scheme|plate|image|photo(?:graph)?|chart|graph)\b[.\s-]*(?:no\.?\s*)?[A-Z]?\d+[A-Za-z]?\s*[.:|)–—-]*\s*",
    re.IGNORECASE,
)
_LETTERS = r"[A-Za-z](?:\s?[-–,&/]\s?[A-Za-z]|,?\s(?:and|to)\s[A-Za-z])*"
_PANEL = re.compile(
    rf"(?:^|\s+|(?<=[.,;:]))[(\[]\s*(?!H\s?&\s?E)(?:panels?\s+)?(?:{_LETTERS}|[ivx]{{1,4}}|\d)\s*[)\]]:?", re.IGNORECASE
)
_PANEL_BARE = re.compile(
    rf"(?:^|(?<=[.;,:]\s)|(?<=\band\s)|(?<=\bof\s))(?:panels?\s+)?{_LETTERS}\)\s"
    rf"|^(?:panels?\s+)?{_LETTERS}(?::\s|\.\s(?=(?-i:[A-Z])))",  # not the genus of "S. aureus"
    re.IGNORECASE,
)
_PANEL_BOLD = re.compile(r"^[a-h]\s(?=[A-Z])")  # bold in print: "a Survival of mice"
_CITES = re.compile(
    r"\s*\((?:[^()]*\b(?:see|adapted|modified|reproduced|reprinted|courtesy|source|permission|references?|refs?|tables?"
    r"|fig(?:ure)?s?|text|et al)\b[^()]*)\)|\s*\[\d+(?:\s?[-–,]\s?\d+)*\]",
    re.IGNORECASE,
)
_TEXT_PHRASE = re.compile(
    r",?\s*\b(?:(?:as|and|is|are|was|were)\s+)?(?:(?:described|explained|discussed|listed|given|defined|mentioned|shown)\s+(?:in|by)\s+"
    r"|see(?:\s+also)?\s+)(?:the\s+)?(?:main\s+)?(?:text|methods?|materials?(?:\s+and\s+methods)?|tables?\s*\w*"
    r"|fig(?:ure)?s?\.?\s*\w*|supplement\w*(?:\s+\w+)?|references?)\b(?:\s+for\s+[^.;]*)?",
    re.IGNORECASE,
)
_OPENER = re.compile(
    r"^(?:(?:this|the|present|above|following)\s+)+(?:figure|image|picture|panel|photograph|graph)\s+"
    r"(?:shows?|showing|depicts?|illustrates?|presents?|demonstrates?|represents?)\s+(?:that\s+)?",
    re.IGNORECASE,
)
_LEFT_OVER = re.compile(r"^\s*and\s")  # of "(a) and (b)"
_ABBREVIATION = re.compile(
    r"(?:^|(?<!\d)[\s(])(?:[A-Za-z]|\w\.\w|et al|cf|vs|ca|approx|resp|nos?|figs?|refs?|eq|spp?|var|subsp|st|dr|mrs?"
    r"|prof|inc|ltd|co|corp|vol|min|max|incl|viz|etc|dept|univ)$",
    re.IGNORECASE,
)
_END = re.compile(r"([.?!])[)\]\"'”’]*\s+(?=[\"'“‘(\[*]*(?:[A-Z0-9αβγ]|\w[)\]]|[a-h] [A-Z]|\* ))")


def sentences(text: str) -> list[str]:
    """The sentences of `text`. A full stop after an abbreviation, an initial or a species' genus ends none."""
    found, begin = [], 0
    for match in _END.finditer(text):
        if match[1] == "." and _ABBREVIATION.search(text[begin : match.start()]):
            continue
        found.append(text[begin : match.end()].strip())
        begin = match.end()
    rest = text[begin:].strip()
    return [*found, rest] if rest else found


def first_sentence(caption: str) -> str:
    """The caption's first sentence that says something, or "" where there is none. Ends with a full stop."""
    text = _LABEL.sub("", " ".join(caption.split()))
    said = ""
    for sentence in sentences(text):
        said = f"{said} {_clean(sentence)}".strip()
        if len(re.findall(r"\w+", re.sub(r"\(.*?\)", "", said))) >= MIN_WORDS:
            break
    return said


def _clean(sentence: str) -> str:
    for pattern in (_CITES, _TEXT_PHRASE, _PANEL, _PANEL_BARE, _PANEL_BOLD, _LEFT_OVER, _OPENER):
        sentence = pattern.sub(" " if pattern is _PANEL else "", sentence)
    if len(sentence.split()) > MAX_WORDS:
        sentence = sentence.split(";")[0]
    sentence = re.sub(r"\s+([,.;:)])", r"\1", " ".join(sentence.split()))
    sentence = re.sub(r"([,;:])[,;]+", r"\1", sentence).strip(" ,;:|–—-.")
    if len(sentence.split()) < MIN_WORDS and not re.search(r"[^\W\d_]{4}", sentence):
        return ""  # panel letters and "and" between them
    if re.match(r"[a-z][a-z]*\b(?![-\d])", sentence):  # not "mRNA", "p53"
        sentence = sentence[0].upper() + sentence[1:]
    return sentence if sentence.endswith(("?", "!")) else sentence + "."
