"""`instruct clean`: a set is cleaned again, every turn accounted for."""

from collections import Counter

import pytest

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.instruct.align import align
from llavamed.instruct.clean.again import NOT_COMPARED, clean_set, messages, turns_of
from llavamed.verify import rehash
from small_corpus import figure, write_corpus
from small_set import record, said, write_conversations

GOOD = ("What is seen?", "A dark, rounded area in the liver.")
LEAK = ("How large is it?", "It measures 5.4 cm.")
TEXT = ("Where is it?", "According to the caption, it is in the left lobe.")
AGE = ("Who is it?", "A 47-year-old man.")
BAD = ("What now?", "You should see a doctor.")


@pytest.fixture
def corpus(tmp_path):
    figures = [figure(n, "train", "ct", "CT with a mass of 5.4 cm in the left lobe.") for n in range(8)]
    return write_corpus(tmp_path / "corpus", [("train", figures)])


@pytest.fixture
def small(tmp_path, corpus):
    files = [
        [
            record(0, "train", said(GOOD, LEAK, TEXT)),
            record(1, "train", said(BAD, GOOD)),
            record(2, "train", said(AGE, BAD)),
            record(
                3, "train", [{"from": "gpt", "value": "A mass."}, {"from": "human", "value": "<image>\nWhat is it?"}]
            ),
        ],
        [record(0, "test", said(GOOD, ("Is it dark?", "Yes.")), name="again"), record(4, "test", said(GOOD)[1:])],
        [record(5, "validation", said(GOOD, GOOD)), record(77, "validation", said(LEAK))],
    ]
    return write_conversations(tmp_path / "set", files, corpus)


def rows(folder, prefix="data"):
    return list(storage.read_rows(folder, prefix))


def test_every_turn_is_kept_repaired_or_excluded(small, corpus, tmp_path):
    result = clean_set(small, tmp_path / "out", corpus=corpus)
    kept = {row["id"]: turns_of(row["conversations"])[0] for row in rows(tmp_path / "out")}
    assert kept == {
        "1000_F0_again": [GOOD, ("Is it dark?", "Yes.")],  # its file is the first
        "1000_F0_gpt": [("Where is it?", "It is in the left lobe.")],
        "1001_F1_gpt": [GOOD],
        "1005_F5_gpt": [GOOD],
        "1077_F77_gpt": [LEAK],
    }
    out = rows(tmp_path / "out", "excluded")
    turns = [(row["id"], row["turn"], row["reason"]) for row in out if row["turn"]]
    assert sorted(turns) == sorted([
        ("1000_F0_gpt", 1, "duplicate"), ("1000_F0_gpt", 2, "leak"), ("1001_F1_gpt", 1, "advice"),
        ("1002_F2_gpt", 1, "leak"), ("1002_F2_gpt", 2, "advice"),
        ("1003_F3_gpt", 1, "format"), ("1003_F3_gpt", 2, "format"),
        ("1004_F4_gpt", 1, "format"), ("1005_F5_gpt", 2, "duplicate"),
    ])  # fmt: skip
    whole = {row["id"]: (row["reason"], row["detail"]) for row in out if not row["turn"]}
    assert whole == {
        "1002_F2_gpt": ("no_turn_left", "advice, leak"),
        "1003_F3_gpt": ("no_turn_left", "format"),
        "1004_F4_gpt": ("no_turn_left", "format"),
    }
    [leak] = [row for row in out if (row["id"], row["turn"]) == ("1000_F0_gpt", 2)]
    assert (leak["question"], leak["answer"], leak["detail"], leak["source"]) == (
        *LEAK,
        "5.4",
        "data/train-00000.parquet",
    )
    assert result["conversations"] == {"in": 8, "kept": 5, "excluded": {"no_turn_left": 3}}
    assert result["turns"]["excluded"] == Counter(reason for _, _, reason in turns)
    assert result["turns"]["kept"] == sum(map(len, kept.values()))
    assert (result["repaired"], result["without_caption"]) == (1, 1)
    assert rehash(tmp_path / "out") == []


def test_what_stays_is_the_record_as_it_was(small, corpus, tmp_path):
    clean_set(small, tmp_path / "out", corpus=corpus)
    before = {row["id"]: row for row in rows(small)}
    for row in rows(tmp_path / "out"):
        assert {**before[row["id"]], "conversations": None} == {**row, "conversations": None}
        assert row["conversations"][0]["value"].startswith("<image>\n")
        assert sum(part["value"].count("<image>") for part in row["conversations"]) == 1


def test_cleaning_again_excludes_nothing(small, corpus, tmp_path):
    first = clean_set(small, tmp_path / "a", corpus=corpus)
    again = clean_set(tmp_path / "a", tmp_path / "b", corpus=corpus)
    assert again["turns"] == {"in": first["turns"]["kept"], "kept": first["turns"]["kept"], "excluded": {}}
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_without_a_corpus_it_says_that_nothing_was_compared(small, tmp_path):
    result = clean_set(small, tmp_path / "out")
    assert result["leaks"] == NOT_COMPARED
    assert result["without_caption"] == 8
    assert "leak" in result["turns"]["excluded"], "an age needs no caption"
    assert LEAK in [turn for row in rows(tmp_path / "out") for turn in turns_of(row["conversations"])[0]]


def test_the_same_bytes_for_any_number_of_workers_and_lineage(small, corpus, tmp_path):
    one = clean_set(small, tmp_path / "a", corpus=corpus)
    assert clean_set(small, tmp_path / "b", corpus=corpus, workers=2)["hash"] == one["hash"]
    assert clean_set(small, tmp_path / "a", corpus=corpus) == one
    manifest = artifact.read_manifest(tmp_path / "a")
    assert [entry["manifest"]["kind"] for entry in manifest["parents"]] == ["conversations", "corpus"]
    assert len(manifest["settings"]["rules_hash"]) == 64
    assert manifest["splits"]["train"]["turns"] == 2


def test_two_records_of_one_id_are_both_kept(corpus, tmp_path):
    other = record(1, "train", said(("Is it round?", "Yes.")))
    small = write_conversations(tmp_path / "set", [[record(1, "train", said(GOOD)), other]], corpus)
    assert clean_set(small, tmp_path / "out")["conversations"]["kept"] == 2


def test_captions_as_answers_are_not_cleaned(corpus, tmp_path):
    align(corpus, tmp_path / "aligned")
    with pytest.raises(InputError, match="answers of an alignment set are captions"):
        clean_set(tmp_path / "aligned", tmp_path / "out")
    with pytest.raises(InputError, match="kind corpus; this step reads conversations"):
        clean_set(corpus, tmp_path / "out")
    small = write_conversations(tmp_path / "set", [[record(1, "train", said(GOOD))]], corpus)
    with pytest.raises(InputError, match="this step reads corpus"):
        clean_set(small, tmp_path / "out", corpus=small)


@pytest.mark.parametrize(
    ("conversations", "turns", "wrong"),
    [
        (said(GOOD, LEAK), [GOOD, LEAK], ""),
        (said(GOOD)[:1], [(GOOD[0], "")], "human and gpt do not take turns"),
        ([], [("", "")], "human and gpt do not take turns"),
        (None, [("", "")], "human and gpt do not take turns"),
        ([{"from": "system", "value": None}, *said(GOOD)], [("", ""), GOOD], "human and gpt do not take turns"),
        ([{"from": "human", "value": "A?"}, {"from": "gpt", "value": "B."}], [("A?", "B.")], "mark of the picture"),
        (said(GOOD, ("<image> And?", "B.")), [GOOD, ("And?", "B.")], "mark of the picture"),
    ],
)
def test_roles_and_the_mark_of_the_picture(conversations, turns, wrong):
    found, problem = turns_of(conversations)
    assert found == turns
    assert wrong in problem if wrong else problem == ""


def test_messages_and_turns_are_each_other_s_inverse():
    assert turns_of(messages([GOOD, LEAK])) == ([GOOD, LEAK], "")
