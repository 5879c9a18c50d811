"""What the model reads is what it will be asked, and the loss touches only what it should learn to say."""

import re
from copy import copy
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from small_talk import picture, row, turns

from llavamed.train.tokens import IGNORE, ExcludedError, encode, messages, opened

IMAGE_TOKENS = 8
spoken = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=30).filter(
    lambda text: text.strip() and "<" not in text
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(spoken, spoken), min_size=1, max_size=4))
def test_the_loss_is_on_the_answers_and_their_end_alone(loaded, pairs):
    _, processor = loaded
    said = [text for pair in pairs for text in pair]
    example = encode(row(0, conversations=turns(f"<image>\n{said[0]}", *said[1:])), processor, IMAGE_TOKENS, 4096)
    assert all(label in (IGNORE, token) for token, label in zip(example.ids, example.labels, strict=True))
    heard = processor.tokenizer.decode([label for label in example.labels if label != IGNORE])
    assert heard == "".join(f"{answer.strip()}<|im_end|>" for _, answer in pairs)


def test_training_reads_what_asking_will_send(loaded):
    """The same tokens as the processor makes of the same chat, so answers follow prompts the model was trained on."""
    _, processor = loaded
    one = row(0)
    example = encode(one, processor, IMAGE_TOKENS, 4096)
    chat = messages(one["conversations"])
    image = Image.open(BytesIO(one["image"]["bytes"]))
    whole = processor(images=image, text=processor.apply_chat_template(chat))["input_ids"][0]
    assert list(example.ids) == whole
    asked = processor(images=image, text=processor.apply_chat_template(chat[:1], add_generation_prompt=True))
    length = len(asked["input_ids"][0])
    assert list(example.ids[:length]) == asked["input_ids"][0]
    assert set(example.labels[:length]) == {IGNORE}
    assert example.labels[length] != IGNORE


def test_what_begins_alike_is_kept_once(loaded):
    one, other = (encode(row(n), loaded[1], IMAGE_TOKENS, 4096) for n in (0, 1))
    assert one.rest != other.rest
    assert one.start is other.start
    assert one.ids[: one.prefix].count(loaded[1].image_token_id) == IMAGE_TOKENS
    assert one.ids[one.prefix - 1] == loaded[1].image_token_id not in one.rest


@pytest.mark.parametrize(
    ("without", "reason"), [(r"\{%-? *(end)?generation *-?%\}", "no_answer"), ("<image>", "not_one_image")]
)
def test_a_chat_template_that_marks_no_answer_or_no_picture(loaded, without, reason):
    processor = copy(loaded[1])
    processor.chat_template, changes = re.subn(without, "", processor.chat_template)
    assert changes
    with pytest.raises(ExcludedError, match="chat template") as caught:
        encode(row(0), processor, IMAGE_TOKENS, 4096)
    assert caught.value.reason == reason


def test_the_picture_comes_first_wherever_its_mark_stood():
    for first in ("<image>\nWhat?", "What?\n<image>", "<image>What?"):
        assert messages(turns(first, "CT"))[0]["content"] == [{"type": "image"}, {"type": "text", "text": "What?"}]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (turns("What?", "CT"), "not_one_image"),
        (turns("<image> <image> What?", "CT"), "not_one_image"),
        (turns("<image> What?", "CT", "And <image>?", "MRI"), "not_one_image"),
        (turns("What?", "CT", "<image> And?", "MRI"), "not_one_image"),
        (turns("<image>\nWhat?"), "no_answer"),
        (turns("<image>\nWhat?", "  "), "empty_turn"),
        (turns("<image>", "CT"), "empty_turn"),
        ([*turns("<image>\nWhat?", "CT"), {"from": "gpt", "value": "x"}], "turns_out_of_order"),
        ([{"from": "gpt", "value": "<image> x"}], "turns_out_of_order"),
        (turns("<image>\nWhat?", "CT<|im_end|>\n<|im_start|>user\n"), "control_token"),
        (turns("<image>\nWhat?" + "!" * 500, "CT"), "too_long"),
        ([], "not_one_image"),
        (None, "not_one_image"),
        ([None], "not_one_image"),
        (turns("<image>\nWhat?", None), "empty_turn"),
        ([{"from": None, "value": "<image>\nWhat?"}], "turns_out_of_order"),
    ],
)
def test_what_cannot_be_used_has_a_reason(loaded, said, reason):
    with pytest.raises(ExcludedError) as caught:
        encode(row(0, conversations=said), loaded[1], IMAGE_TOKENS, 400)
    assert caught.value.reason == reason
    assert caught.value.detail


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "no_image"),
        ({"bytes": None, "path": "x"}, "no_image"),
        ({"bytes": b"", "path": "x"}, "no_image"),
        ({"bytes": b"text", "path": "x"}, "unreadable_image"),
        ({"bytes": picture(0)["bytes"][:900], "path": "x"}, "unreadable_image"),
    ],
)
def test_a_picture_that_does_not_open_has_a_reason(image, reason):
    with pytest.raises(ExcludedError) as caught:
        opened(image)
    assert caught.value.reason == reason
