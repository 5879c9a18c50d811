"""Paper mode against the definitions of LLaVA-Med's scorer, read a second time and written down plainly here.

Nothing of the implementation is used below but what is tested.
"""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from llavamed.evaluate.metrics import Item, paper

MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
CONTRACTED = {
    "dont": "don't",
    "isnt": "isn't",
    "theres": "there's",
    "couldntve": "couldntve",
    "couldnt've": "couldn't've",
}


def is_number(mark: str) -> bool:
    return mark.isdecimal()  # what a pattern of digits matches


def read(text: str) -> str:
    """One normalisation of an answer or a reference."""
    original = text.lower()
    with_thousands = any(
        original[n] == "," and is_number(original[n - 1]) and is_number(original[n + 1])
        for n in range(1, len(original) - 1)
    )
    running = original
    for mark in MARKS:
        if mark + " " in original or " " + mark in original or with_thousands:
            running = "".join(letter for letter in running if letter != mark)
        else:
            running = "".join(" " if letter == mark else letter for letter in running)
    kept, dropped = [], 0
    for n, letter in enumerate(running):
        before_a_digit = n + 1 < len(running) and is_number(running[n + 1])
        if letter == "." and not before_a_digit and dropped < 32:
            dropped += 1
        else:
            kept.append(letter)
    words = []
    for word in "".join(kept).lower().split():
        if word == "none":
            word = "0"
        elif word in DIGITS:
            word = str(DIGITS.index(word))
        if word in ("a", "an", "the"):
            continue
        words.append(CONTRACTED.get(word, word))
    return "".join(letter for letter in " ".join(words) if letter != ",")


def words_of(text: str) -> list[str]:
    return [word for word in read(text).split(" ") if word]


def by_the_definitions(pairs: list[tuple[str, str, str]]) -> dict[str, float | None]:
    """Per cent, of (answer, reference, kind)."""
    recalls, precisions, f1s, exact, hits = [], [], [], [], []
    for answer, reference, kind in pairs:
        answer, reference = read(answer), read(reference)
        if kind == "closed":
            hits.append(1 if ("yes" in answer or "no" in answer) and reference in answer else 0)
            continue
        said, wanted = words_of(answer), words_of(reference)
        in_both = len([word for word in said if word in wanted])
        only_said = len([word for word in said if word not in wanted])
        only_wanted = len([word for word in wanted if word not in said])
        if in_both:
            precision, recall = in_both / (in_both + only_said), in_both / (in_both + only_wanted)
            f1 = 2 * precision * recall / (precision + recall)
        else:
            precision = recall = f1 = 0
        recalls.append(recall)
        precisions.append(precision)
        f1s.append(f1)
        exact.append(len([word for word in set(wanted) if word in said]) / len(said) if said else 0)

    def mean(values: list[float]) -> float | None:
        return 100 * sum(values) / len(values) if values else None

    return {
        "open_recall": mean(recalls),
        "open_precision": mean(precisions),
        "open_f1": mean(f1s),
        "exact_match": mean(exact),
        "closed_accuracy": mean(hits),
    }


PIECES = [
    "yes", "no", "Normal", "nodule", "the", "a", "An", "none", "Ten", "two", "dont", "isnt", "theres", "left", "lung",
    "left", "1,000", "2.5", "3.", "cm", "T2", "x-ray", " - ", "...", ".", ",", "?", "!", "(", ")", "/", "'", "É", " ",
    "  ", "\n", *MARKS,
]  # fmt: skip
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.text(max_size=40),
)
pairs = st.lists(st.tuples(texts, texts, st.sampled_from(["open", "closed"])), min_size=1, max_size=6)


@settings(max_examples=400)
@given(pairs)
@example([("." * 80 + "x", "x", "open")])
@example([("x -y a-b", "ab", "open"), ("x- y a-b", "ab", "open")])
@example([("1,000 x-rays", "1000 xrays", "open")])
@example([("the the", "a", "open"), ("", "yes", "closed"), ("no", "", "closed")])
def test_any_answers_and_references(pairs):
    items = [Item(str(n), "Q?", reference, answer, kind) for n, (answer, reference, kind) in enumerate(pairs)]
    found, expected = paper(items), by_the_definitions(pairs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] is None) == (value is None), name
        assert value is None or abs(found[name] - value) < 1e-4, (name, found[name], value)


def test_the_second_reading_knows_the_quirks():
    assert read("The x-ray - 2.5 cm, isnt it?") == "xray 2.5 cm isn't it"
    assert all(read(mark.join(("a1", "b2"))) == "a1 b2" for mark in MARKS)
    assert words_of("None of ten") == ["0", "of", "10"]
