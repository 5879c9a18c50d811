"""Training adds adapters to the weights when it publishes, so an export has nothing left to merge."""

from llavamed.model import checkpoint
from llavamed.model.export import export
from llavamed.model.tensors import tensors_of
from llavamed.summary.facts import gather
from llavamed.train.loop import train
from llavamed.train.stage import Stage


def test_what_was_trained_with_adapters(tiny, talk, tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText

    stage = Stage(name="instruct", learning_rate=1e-2, batch_size=5, language={"train": "lora", "rank": 4})
    train(tiny, talk, tmp_path / "trained", stage)
    export(tmp_path / "trained", tmp_path / "out")
    before, after = tensors_of(tiny), tensors_of(tmp_path / "out")
    assert before.keys() == after.keys()  # none of an adapter
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(before[name].load(), after[name].load())
    want, _ = checkpoint.load(tmp_path / "trained")
    got = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    ids = torch.arange(9)[None]
    with torch.inference_mode():
        assert torch.equal(got(input_ids=ids).logits, want(input_ids=ids).logits)
    cards = [(tmp_path / name / "README.md").read_text().partition("## ")[2] for name in ("trained", "out")]
    assert all(
        "(10 in stage instruct)" in card and "text tokens by the model's own tokenizer" in card for card in cards
    )
    assert cards[0] == cards[1].partition("## ")[2]  # what it saw, after its parts
    assert gather(tmp_path / "out")["training.first"].source.endswith("the earliest of 1 trainings")
