"""Turns worth training on: every rule is named, and what breaks one is dropped, or repaired where that is enough."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from llavamed import storage
from llavamed.instruct.clean import form, leak, phrases, repair
from llavamed.instruct.write import Turns

MEANING = {  # in the order in which a turn is judged
    "format": "marks of roles, prompts or data formats; roles out of order; no mark of the picture",
    "degenerate": "empty, cut off, repeating itself or the question, a bare yes where more was asked",
    "language": "not in English",
    "self": "speaks of itself as a program",
    "no_picture": "says that there is no picture",
    "text": "speaks of a caption, text or authors",
    "advice": "tells somebody what to do about their health",
    "certain": "claims a diagnosis or an outcome beyond doubt",
    "leak": "tells what no viewer of the picture could see",
    "duplicate": "said before about the same picture",
}
Judged = tuple[dict[str, str], str]  # what `judge` gives for a turn, and `turn_key`
MARKS, WHOLE, LANGUAGE, SPEECH, LEAK = (1 << n for n in range(5))  # kinds of rules
EVERY = MARKS | WHOLE | LANGUAGE | SPEECH | LEAK
SPOKEN = ("self", "no_picture", "text", "advice", "certain")  # rules of phrases
_ANSWER_ONLY = ("advice", "certain")  # one may ask for advice, and must not get it


class Victim(NamedTuple):
    """A turn that was dropped: its number in the conversation from 1, its words, the rule, and what broke it."""

    turn: int
    question: str
    answer: str
    reason: str
    detail: str


def clean_turns(
    turns: Turns, caption: str = "", mentions: Iterable[str] = (), said: Iterable[str] = ()
) -> tuple[Turns, list[Victim]]:
    """The turns that are kept, in their order, some with clauses about the text taken out, and those dropped.

    `said`: what was said about the picture elsewhere (`turn_key`), and is not kept again.
    Without `caption` and `mentions` nothing is compared with them: of leaks, those that no picture shows are found.
    """
    source = source_of(caption, mentions)
    return drop(turns, [judge_fully(*turn, source) for turn in turns], source, said)


def source_of(caption: str, mentions: Iterable[str]) -> str:
    """What turns were made from, in one text."""
    return "\n".join((caption, *mentions)).strip()


def drop(turns: Turns, judged: Iterable[Judged], source: str, said: Iterable[str] = ()) -> tuple[Turns, list[Victim]]:
    """As `clean_turns`, of turns that are `judged`."""
    kept: Turns = []
    victims = []
    seen = set(said)
    for number, ((question, answer), (broken, key)) in enumerate(zip(turns, judged, strict=True), 1):
        left = answer
        if broken.keys() == {"text"} and (repaired := _repaired(question, answer, source)):
            broken, left, key = {}, repaired, turn_key(question, repaired)
        if not broken:
            broken = {"duplicate": "the same question and answer"} if key in seen else {}
            seen.add(key)
        if broken:
            reason, detail = next(iter(broken.items()))
            victims.append(Victim(number, question, answer, reason, detail))
        else:
            kept.append((question, left))
    return kept, victims


def judge_fully(question: str, answer: str, source: str) -> Judged:
    """What `judge` and `turn_key` give."""
    read = phrases.read_both(question, answer)
    return find_broken(*read, source), _key(*read)


def judge(question: str, answer: str, source: str = "") -> dict[str, str]:
    """Every rule that a turn breaks by itself -> what breaks it, in the order of MEANING.

    `source`: what the turn was made from, caption and mentions in one; "" where not known.
    """
    return find_broken(*phrases.read_both(question, answer), source)


def find_broken(asked: phrases.Text, said: phrases.Text, source: str, doubts: int = EVERY) -> dict[str, str]:
    """As `judge`. `doubts`: which rules could be broken, a bit for each kind; the others are not looked at."""
    found = {}
    if doubts & MARKS:
        found["format"] = form.find_marks(asked.text) or form.find_marks(said.text)
    if doubts & WHOLE:
        long = said.lists & phrases.ON_LONG > 0
        found["degenerate"] = form.find_degenerate(asked.words, said.text, said.words, long)
    if doubts & LANGUAGE:
        found["language"] = form.find_language(asked) or form.find_language(said)
    if doubts & SPEECH:
        spoken_of, spoken = phrases.find(asked), phrases.find(said)
        if spoken_of or spoken:
            found |= {rule: spoken.get(rule) or _asked(rule, spoken_of) for rule in SPOKEN}
    if doubts & LEAK:
        found["leak"] = leak.find_leak(asked, source) or leak.find_leak(said, source)
    return {rule: detail for rule, detail in found.items() if detail} if any(found.values()) else {}


def _asked(rule: str, spoken_of: dict[str, str]) -> str:
    """What of a question breaks a rule of phrases."""
    return "" if rule in _ANSWER_ONLY else spoken_of.get(rule, "")


def turn_key(question: str, answer: str) -> str:
    """What is equal for two turns that say the same."""
    return _key(*phrases.read_both(question, answer))


def _key(asked: phrases.Text, said: phrases.Text) -> str:
    return " ".join((*asked.words, "|", *said.words))


@cache
def rules_hash() -> str:
    """SHA-256 over the files of this folder that decide: words and code."""
    names = (*phrases.FILES, "__init__.py", "many.py", "phrases.py", "leak.py", "form.py", "repair.py")
    folder = Path(__file__).parent
    lines = "".join(f"{storage.sha256_file(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def _repaired(question: str, answer: str, source: str) -> str:
    """The answer without its clauses about the text, or "" where that does not mend the turn."""
    left = repair.strip(answer, _speaks_of_text)
    return left if left != answer and not judge(question, left, source) else ""


def _speaks_of_text(clause: str) -> bool:
    return "text" in phrases.find(phrases.read(clause))
