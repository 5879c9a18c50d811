"""What answers without a model, or without looking."""

from io import BytesIO

import numpy as np
from PIL import Image

from llavamed.evaluate.baselines import baselines, blank, thumbnail
from llavamed.evaluate.questions import questions_of


def test_baselines(conversations):
    questions = questions_of(conversations)
    said, learnt = baselines(conversations, questions)
    assert learnt == "train"
    by_text = {}
    for n, question in enumerate(questions):
        answers = (said["majority_answer"][n], said["neighbour_answer"][n])
        by_text.setdefault((question.question, question.pair_id), answers)
    assert by_text["What kind of image is this?", "test0_F1"] == ("ct scan", "CT scan")
    assert by_text["What type of image is shown?", "test1_F1"] == ("ct scan", "Histology image.")
    assert by_text["Is this a CT scan?", "test1_F1"] == ("no", None)  # 3 to 3: the alphabet
    assert by_text["Is this axial or coronal?", "test0_F1"] == ("axial", None)
    assert by_text["What does it show?", "test0_F1"] == ("round mass in liver", None)


def test_random_answers_are_options_and_the_same_every_time(conversations):
    questions = questions_of(conversations) * 20
    said = baselines(conversations, questions)[0]["random_answer"]
    assert said == baselines(conversations, questions)[0]["random_answer"]
    closed = [(q, answer) for q, answer in zip(questions, said, strict=True) if q.kind == "closed"]
    assert all(answer in q.options for q, answer in closed)
    yes = [answer == "yes" for q, answer in closed if q.question_type == "yes or no"]
    assert 0.3 < sum(yes) / len(yes) < 0.7


def test_without_a_train_split_they_learn_from_the_questions(make_row, make_conversations, tmp_path):
    folder = make_conversations(tmp_path / "set", [make_row("test", n) for n in range(2)])
    said, learnt = baselines(folder, questions_of(folder))
    assert learnt == "test"
    assert None not in said["majority_answer"]
    assert set(said["neighbour_answer"]) == {None}


def test_the_blank_picture_shows_its_size_only():
    picture = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30) % 255).convert("RGB")
    empty = blank(picture)
    assert (empty.size, empty.getcolors()) == (picture.size, [(600, (128, 128, 128))])


def test_thumbnails_are_area_means():
    stream = BytesIO()
    Image.fromarray(np.kron(np.arange(256).reshape(16, 16), np.ones((4, 2))).astype(np.uint8)).save(stream, "PNG")
    assert np.allclose(thumbnail(Image.open(stream)), np.arange(256))
