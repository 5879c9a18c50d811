"""Which option does an answer to a closed question assert?

A closed question has options: yes and no, the alternatives it names, or a given list. An answer is right only if it
asserts the expected option, in whole words and read with negation, and no other. Off the topic, hedged, contradictory
or empty answers assert nothing. The rules are ours; `tests/evaluate/strict_answers.tsv` holds answers labelled by hand.
"""

import re
from collections.abc import Iterator, Sequence

YES_NO = ("yes", "no")

# Different spellings of one thing. Applied in order to lower-case text without hyphens.
_SAME = (
    (r"n't\b|n’t\b", " not"),
    (r"\bcannot\b", "can not"),
    (r"\bx ?rays?\b|\bradiographs?\b", "xray"),
    (r"\bmagnetic resonance(?: imag(?:ing|es?))?\b|\bmr imag(?:ing|es?)\b|\bmr\b|\bmris\b", "mri"),
    (r"\bcomputed tomograph(?:y|ic)\b|\bcts\b", "ct"),
    (r"\bultrasonograph(?:y|ic)\b|\bsonograms?\b|\bsonograph(?:y|ic)\b", "ultrasound"),
    (r"\bhistolog(?:ic|ical)\b|\bhistopatholog(?:y|ic|ical)\b", "histology"),
    (r"\bnot (?:absent|negative|without)\b|\bno (?:doubt|question)\b", " "),
    (r"\bwithin normal limits\b", "normal"),
    (r"\bclear(?= (?:evidence|signs?|indications?)\b)", " "),  # says nothing of clear lungs
    (r"\bbilateral(?:ly)?\b", "both"),
    (r"\b(?:single|solitary)\b", "one"),
    (r"\bhemidiaphragm", "diaphragm"),
    (r"\brt\b", "right"),
    (r"\blt\b", "left"),
    (r"\bt[12](?: weighted)?(?= flair\b)", " "),
    (r"\brather than\b|\binstead of\b", "not"),
    (r"\bfree of\b|\brul(?:es?|ed|ing) out\b|\bexclud(?:es?|ed|ing)\b", "without"),
    (r"\bfree from\b|\bdevoid of\b", "without"),
)


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMBERS = {
    **{"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"},
    **{"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"},
}
_CUES = _set("no not non without absent absence negative never none nothing neither lack lacks lacking")
_NORMAL = _set("normal clear unremarkable intact healthy")
_ABNORMAL = _set("abnormal abnormality anomaly")
_HEDGE = re.compile(
    r"\b(?:may|might|could|maybe|perhaps|possibl[ey]|unclear|uncertain|unsure|unknown|indeterminate|inconclusive"
    r"|equivocal|whether|if|probably|probable|likely|unlikely"
    r"|(?:suspicious|concerning|suggestive) (?:for|of))\b"
    r"|(?:\bnot|n't|\bcannot|\bdifficult to|\bhard to|\bimpossible to) (?:\w+ ){0,2}?"
    r"(?:sure|certain|determined?|tell|say|know|known|assess(?:ed)?|evaluated?|confirm(?:ed)?|excluded?|ruled?)\b"
    r"|\bsorry\b|\bunable to\b|(?:not|n't|cannot) (?:see|view|access) (?:the|this|any|your) (?:image|picture|scan)"
)
_STOP = _set(
    "a an the is are was were be been has have had do does did can of in on at to for by from with and or nor than as "
    "this that these those it its they their there here what which how where why who any some you i we he she his her "
    "used taken shown seen show shows see located visible present evident identified noted appear appears demonstrate "
    "demonstrates detected observed apparent demonstrated image images picture evidence sign signs finding findings "
    "included given administered patient patient's s answer just only also still either"
)
# Words that name a sort of thing but do not tell two options apart.
_GENERIC = _set("image picture photograph photo view scan film side sided plane weighted")
_PICTURE = _set("image picture xray ct mri scan film study examination section slice ultrasound")
_SIDES = _set("left right")
# Compared with "than", all other comparatives ask for or state the greater.
_LESSER = re.compile(r"\b(?:less|least|smaller|smallest|lower|lowest|fewer|thinner|shorter|darker)\b")
_GREATER = re.compile(r"\b(?:more|most|bigger|biggest|larger|largest|greater|greatest|\w{4,}er(?= than))\b")
_SEVERAL = re.compile(
    r"\b(?:several|many|numerous|two|three|four|five|six|seven|eight|nine|ten|[2-9]|[1-9]\d)"
    r"(?= (?:\w+ ){0,2}?\w{3,}s\b)"
)
_IN_PICTURE = re.compile(r"\b(?:left|right)(?:[- ]hand)?(?: side)? of (?:the|this) (?:image|picture|film|screen)\b")
_CLAUSE = re.compile(
    r"[;:!?\n]+|\.(?!\d)|\b(?:but|however|although|though|whereas|while)\b"
    r"|,\s*(?=(?:and )?(?:the|a|an|it|its|this|these|there|they|i|we|not|no|with|without|rather|instead)\b)"
)
# "no" as an answer by itself, not as in "no fracture".
_NO = r"no(?=\s*(?:$|[^\w\s-]|(?:there|it|its|this|that|the|i|they|he|she|and|or|because|since|yes)\b))"
_SAID = re.compile(rf"\b(yes|{_NO})\b")


def asserted(answer: str, options: Sequence[str], question: str = "") -> str | None:
    """The one of `options` that `answer` asserts, or None.

    `question` says what is asked of the options: "The heart is enlarged" says yes to "Is the heart enlarged?"; "The
    liver is smaller than the spleen" says spleen to "Which is bigger?".
    """
    answer = _plain(answer, " ".join([question, *options]).lower())
    if tuple(options) == YES_NO:
        said = _said(answer)
        return _implied(answer, question) if said is None else said if said in YES_NO else None
    return _chosen(answer, options, question)


def _plain(answer: str, asked: str) -> str:
    """The answer in lower case, numbers as "multiple" if that is asked for, the patient's sides alone if it names
    them and those of the picture."""
    answer = answer.lower()
    if "multiple" in asked:
        answer = _SEVERAL.sub("multiple", answer)
    return _IN_PICTURE.sub(" ", answer) if "patient" in answer else answer


def options_of(question: str, reference: str) -> tuple[str, ...]:
    """The options of a closed question: yes and no if the reference says one of them, else the alternatives that the
    question names, the reference among them, else the reference alone."""
    if _said(reference) in YES_NO:
        return YES_NO
    named = alternatives(question)
    if named and asserted(reference, named) is None:
        words = set(_key(reference)[0])
        named = (*(option for option in named if not words <= set(_key(option)[0])), reference)
    return named or (reference,)


def alternatives(question: str) -> tuple[str, ...]:
    """The alternatives that a question names: "an axial or coronal view?" -> axial, coronal view. Often none."""
    text = " ".join(question.lower().replace("?", " ").split())
    with_or_without = re.search(r"\bwith or without (\w+)", text)
    if with_or_without:
        return (f"with {with_or_without[1]}", f"without {with_or_without[1]}")
    parts = [part.strip() for part in re.split(r",\s*or\b|\bor\b|[,:]|\s-|-\s", text)]
    if len(parts) < 2 or not re.search(r"\bor\b", text):
        return ()
    if re.match(r"(?:which|what|where|how|who)\b", text) and len(parts) > 2:
        parts = parts[1:]  # "Which is bigger, the liver or the kidney?"
    last = _leading(parts[-1])
    others = [_trailing(part, len(_key(last)[0]) or 1) for part in parts[:-1]]
    size = max(len(_key(option)[0]) for option in others)
    # "left or right kidney": what stands after as many words as the others have is shared by all.
    return tuple(dict.fromkeys(option for option in (*others, _cut(last, size or 1)) if option))


def _leading(part: str) -> str:
    """The noun phrase at the start: "the right side of the brain" -> "right side"."""
    words = part.split()
    while words and words[0] in _STOP:
        words.pop(0)
    end = next((n for n, word in enumerate(words) if word in _STOP), len(words))
    return " ".join(words[:end])


def _trailing(part: str, size: int) -> str:
    """The noun phrase at the end, of at most `size` words that matter: "is this patient male" -> "male"."""
    taken: list[str] = []
    for word in reversed(part.split()):
        if word in _STOP or len([w for w in taken if w not in _GENERIC]) == size:
            break
        taken.insert(0, word)
    return " ".join(taken)


def _cut(option: str, size: int) -> str:
    """The start of `option`, up to its `size`th word that matters."""
    words = option.split()
    end = next((n for n in range(1, len(words) + 1) if len(_key(" ".join(words[:n]))[0]) >= size), len(words))
    return " ".join(words[:end])


def _said(answer: str) -> str | None:
    """ "yes" or "no" if the answer says that word as an answer, "" if it says both, None if neither."""
    text = answer.strip().lower()
    said = set()
    for match in _SAID.finditer(text):
        leads = not re.search(r"\w", text[: match.start()])
        clause = _CLAUSE.split(text[: match.start()])[-1] + text[match.start() :]
        if leads or not (_HEDGE.search(_CLAUSE.split(clause)[0]) or re.search(r"\bnot\W+$", text[: match.start()])):
            said.add(match[1])
    return None if not said else said.pop() if len(said) == 1 else ""


def _implied(answer: str, question: str) -> str | None:
    """Yes or no by what the answer states about the things the question asks for.

    Each clause states a finding (+1) or its absence, or normality (-1); the question asks for one or the other.
    """
    asked = set(_words(question))
    topic = asked - _STOP - _NORMAL - _ABNORMAL - {"side"}
    sides = asked & _SIDES
    wants = -1 if asked & _NORMAL else 1
    head = _head(question) | sides | {word for word in topic if word.isdigit()}
    stated: set[int] = set()
    for words in _clauses(answer):
        found = set(words)
        if sides and "both" in found and not found & _CUES:
            found |= _SIDES
        if found & _SIDES and (not sides & found if sides else "only" in found):
            continue  # the other side, or not both
        about = found & topic
        rest = found - _STOP - _NORMAL - _ABNORMAL - _CUES
        if not about and rest and not (found & _NORMAL and found & _PICTURE):
            continue  # something else
        negated = _negated(words, topic | _NORMAL | _ABNORMAL)
        denied = {word for word, no in zip(words, negated, strict=True) if no}
        marks = [(word, no) for word, no in zip(words, negated, strict=True) if word in _NORMAL | _ABNORMAL]
        if marks:  # "normal", "not abnormal", ...
            stated.update(-1 if (word in _NORMAL) != no else 1 for word, no in marks)
        elif denied & topic or (found & _CUES and not about):
            stated.add(-1)
        elif wants > 0 and topic and (topic <= found | _ABNORMAL or (rest <= topic | _SIDES and head <= found)):
            stated.add(1)
    if len(stated) != 1:
        return None
    return "yes" if stated.pop() == wants else "no"


def _head(question: str) -> set[str]:
    """The last word of what a question asks after: "Is there an aortic aneurysm in the chest?" -> aneurysm."""
    text = re.sub(r"\b(?:evidence|signs?) of\b", " ", question.lower())
    found = [word for word in _words(re.split(r"(?<=\w) (?:in|on|at|of|under|within)\b", text)[0]) if word not in _STOP]
    return set(found[-1:])


def _chosen(answer: str, options: Sequence[str], question: str) -> str | None:
    """The only option that is stated; of two, the one left when the other is denied."""
    keys = {option: _key(option) for option in options}
    matter = {word for words, _ in keys.values() for word in words}
    asked = set(_words(question)) - matter
    opposite = _NORMAL if asked & _ABNORMAL else _ABNORMAL if asked & _NORMAL else frozenset()
    stated: set[str] = set()
    denied: set[str] = set()
    for words in _clauses(_compared(answer, question)):
        negated = dict(zip(words, _negated(words, matter), strict=True))
        other = bool(opposite & negated.keys())  # "the heart is normal" where the abnormal one is asked for
        found = {o: any(negated[w] for w in key) for o, (key, _) in keys.items() if key and set(key) <= negated.keys()}
        for option, no in found.items():
            if any(set(keys[option][0]) < set(keys[longer][0]) for longer in found):
                continue  # "X-ray" inside "chest X-ray"
            (stated if (no != other) == keys[option][1] else denied).add(option)
    both = next((option for option in options if keys[option][0] == ["both"]), "")
    all_of_them = len(options) > 2 and both and (both in stated or stated == set(options) - {both})
    if all_of_them and not re.search(r"\bor\b", answer):  # "both oral and IV", "left and right"
        stated = {both}
    if not stated and len(options) == 2 and len(denied) == 1:
        stated = set(options) - denied
    return stated.pop() if len(stated) == 1 and not stated & denied else None


def _compared(answer: str, question: str) -> str:
    """The answer with, of two things compared, only the one that the question asks for."""
    clauses = []
    for clause in re.split(r"(?<=[.;,])", answer):
        one, than, other = clause.partition(" than ")
        flipped = than and bool(_LESSER.search(question.lower())) != bool(_LESSER.search(one))
        both_asked = _LESSER.search(question.lower()) and _GREATER.search(question.lower())
        clauses.append(other if flipped and not both_asked else one)
    return " ".join(clauses)


def _key(option: str) -> tuple[list[str], bool]:
    """The words that tell an option apart, and whether it is a negative one ("without contrast")."""
    words = _words(option)
    key = [word for word in words if word not in _STOP | _CUES]
    return [word for word in key if word not in _GENERIC] or key, bool(_CUES & set(words))


def _clauses(answer: str) -> Iterator[list[str]]:
    """The words of each clause that is not hedged."""
    for clause in _CLAUSE.split(answer.lower()):
        if not _HEDGE.search(clause) and (words := _words(clause)):
            yield words


def _negated(words: list[str], matter: set[str]) -> list[bool]:
    """For each word whether it is denied. A cue denies what follows, up to the next cue; if nothing is said there
    ("a fracture is not seen"), what stands before it, back to the cue before."""
    cues = [n for n, word in enumerate(words) if word in _CUES]
    negated = [False] * len(words)
    for place, cue in enumerate(cues):
        end = cues[place + 1] if place + 1 < len(cues) else len(words)
        start = cues[place - 1] + 1 if place else 0
        after = range(cue + 1, end)
        said = [words[n] for n in after if not words[n].endswith("ly")]
        if words[cue] == "not":
            said = said[:1]  # "not seen in the lower lobe"
        said = [word for word in said if word not in _STOP | _PICTURE]
        for n in after if said or any(words[n] in matter for n in after) else range(start, cue):
            negated[n] = True
    return negated


def _words(text: str) -> list[str]:
    text = re.sub(r"[-‐‑–/]", " ", text.lower())
    for pattern, word in _SAME:
        text = re.sub(pattern, word, text)
    return [_stem(NUMBERS.get(word, word)) for word in re.findall(r"[a-z0-9]+", text)]


def _stem(word: str) -> str:
    """One form for singular and plural, and for verb and noun: fracture, fractures, fractured."""
    if len(word) < 4 or word.endswith(("ss", "us", "is", "thing")) or word in _STOP:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith("ally"):
        return word[:-2]
    word = word.removesuffix("s")
    return word if len(word) < 7 else re.sub(r"(?:ed|ing|ion|e?ment)$", "e", word)
