"""Answers come token by token, and the conversation goes on."""

import io

import pytest
from PIL import Image

from llavamed.errors import InputError
from llavamed.serve import engine, terminal


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from llavamed.model.build import build

    folder = tmp_path_factory.mktemp("model") / "tiny"
    build("tiny", folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tiny):
    from llavamed.model.checkpoint import load

    return load(tiny)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "scan.png"
    Image.effect_noise((60, 40), 80).save(path)
    return path


def test_streaming_says_what_generate_says(loaded, image):
    model, processor = loaded
    for parameter in model.model.language_model.layers.parameters():  # a model that does not repeat one token
        parameter.data = parameter.data * 8
    picture = Image.open(image).convert("RGB")
    messages = [engine.question("What is it?", image=True), engine.reply("A scan."), engine.question("Sure? <image>")]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor(images=[picture], text=prompt, return_tensors="pt")
    whole = model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    expected = processor.tokenizer.decode(whole, skip_special_tokens=True)
    pieces = list(engine.answer(model, processor, messages, [picture], max_new_tokens=40))
    assert len(set(whole.tolist())) > 3
    assert "".join(pieces) == expected
    assert len(pieces) > 3


def test_a_conversation_too_long_for_the_model(loaded, image):
    model, processor = loaded
    messages = [engine.question("a" * 3000, image=True)]
    with pytest.raises(InputError, match="start a new one"):
        list(engine.answer(model, processor, messages, [Image.open(image).convert("RGB")]))


def test_a_piped_conversation(tiny, image, monkeypatch, capsys):
    heard = []

    def answer(model, processor, messages, images, max_new_tokens):
        heard.append([part["text"] for message in messages for part in message["content"] if part["type"] == "text"])
        yield from ("It ", "is ", f"{len(heard)}.")

    monkeypatch.setattr(engine, "answer", answer)
    monkeypatch.setattr("sys.stdin", io.StringIO("What is it?\nAnd why?\n\nnot asked\n"))
    terminal.chat(tiny, image)
    out, err = capsys.readouterr()
    assert out == "It is 1.\nIt is 2.\n"
    assert err.count("research use only") == 1
    assert heard == [["What is it?"], ["What is it?", "It is 1.", "And why?"]]


def test_one_question_and_end(tiny, image, capsys):
    terminal.chat(tiny, image, question="What is it?", max_new_tokens=3)
    out, err = capsys.readouterr()
    assert out.endswith("\n")
    assert "not medical advice" in err


def test_ctrl_c_stops_the_answer_and_not_the_conversation(capsys):
    def pieces():
        yield "It is "
        raise KeyboardInterrupt

    assert terminal._show(pieces()) == "It is "
    assert capsys.readouterr().out == "It is \n"
    assert terminal._show(iter(["fine"])) == "fine"


def test_wrong_calls_end_before_the_model_is_loaded(tiny, image, tmp_path, monkeypatch):
    monkeypatch.setattr("llavamed.model.checkpoint.load", None)
    with pytest.raises(InputError, match="is no file"):
        terminal.chat(tiny, tmp_path / "missing.png")
    with pytest.raises(InputError, match="no finished llavamed artifact"):
        terminal.chat(tmp_path, image)
    with pytest.raises(InputError, match="question is empty"):
        terminal.chat(tiny, image, question=" ")
