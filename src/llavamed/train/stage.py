"""The settings of one training stage."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llavamed.errors import InputError

STAGES = {
    "align": ("projector",),
    "instruct": ("projector", "language"),
    "finetune": ("projector", "language"),
}  # what each trains unless told otherwise
LORA = {"rank": 16, "alpha": 32.0}


class Part(BaseModel):
    """How one part of the model is trained. Where nothing else is set, `language: lora` stands for `{train: lora}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Annotated[
        Literal["frozen", "full", "lora"],
        Field(description="frozen; full: its weights; lora: low-rank adapters, merged into them at the end"),
    ]
    learning_rate: Annotated[float | None, Field(gt=0, description="its peak; none: the stage's")] = None
    weight_decay: Annotated[float | None, Field(ge=0, description="AdamW's, on matrices; none: the stage's")] = None
    layers: Annotated[int | None, Field(ge=1, description="only so many of its last layers; none: all of it")] = None
    rank: Annotated[int | None, Field(ge=1, description="of the adapters; lora only, 16 if none")] = None
    alpha: Annotated[float | None, Field(gt=0, description="adapters count alpha / rank; lora only, 32 if none")] = None
    targets: Annotated[
        tuple[str, ...] | None, Field(min_length=1, description="linear layers with adapters; lora only, all if none")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"train": given}
        lora = isinstance(given, dict) and given.get("train") == "lora"
        return {**LORA, **{key: value for key, value in given.items() if value is not None}} if lora else given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        void = {"frozen": ("learning_rate", "weight_decay", "layers", "rank", "alpha", "targets"),
                "full": ("rank", "alpha", "targets"), "lora": ()}[self.train]  # fmt: skip
        for name in void:
            if getattr(self, name) is not None:
                other = "it is of lora only" if name in LORA or name == "targets" else "nothing of it is trained"
                raise ValueError(f"{name} beside train: {self.train}: {other}: remove it or choose another train")
        return self

    @property
    def scale(self) -> float:
        """By what the product of an adapter's two matrices is multiplied."""
        return (self.alpha or 0.0) / (self.rank or 1)


class Stage(BaseModel):
    """What is trained, for how long and how fast."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[
        Literal[*STAGES],  # type: ignore[valid-type]
        Field(
            description="align: the projector learns; instruct: the projector and the language model; "
            "finetune: the same, on a benchmark's questions"
        ),
    ]
    vision: Annotated[Part, Field(description="the vision tower")]
    projector: Annotated[Part, Field(description="between the two")]
    language: Annotated[Part, Field(description="the language model")]
    epochs: Annotated[int, Field(ge=1, description="times each conversation is seen")] = 1
    batch_size: Annotated[int, Field(ge=1, description="conversations a step")] = 16
    learning_rate: Annotated[float, Field(gt=0, description="its peak, after warm-up; then it falls as a cosine")]
    weight_decay: Annotated[float, Field(ge=0, description="AdamW's, on matrices")] = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps in which the rate rises")] = 0.03
    max_grad_norm: Annotated[float, Field(gt=0, description="a longer gradient is scaled down to it")] = 1.0
    max_length: Annotated[
        int, Field(ge=8, description="tokens, picture included; longer conversations are excluded")
    ] = 2048
    row_tokens: Annotated[int, Field(ge=8, description="tokens computed at once; no effect on the result")] = 2048
    cache_features: Annotated[
        bool, Field(description="a frozen vision tower sees each picture once, and what it gave is kept on disk")
    ] = True
    checkpointing: Annotated[
        bool, Field(description="compute the language model's layers again for the gradient: less memory, more time")
    ] = False
    compile: Annotated[
        bool, Field(description="torch.compile of each of the language model's layers, on a GPU; no effect elsewhere")
    ] = False
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        Field(description="of the arithmetic; auto: bf16 where the machine is fast at it"),
    ] = "auto"
    seed: Annotated[int, Field(ge=0, description="order of the conversations")] = 0

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, given: Any) -> Any:
        """The parts that the stage of this name trains, where they are not given."""
        if not isinstance(given, dict):
            return given
        trained = STAGES.get(given.get("name", ""), ())
        usual = {part: "full" if part in trained else "frozen" for part in ("vision", "projector", "language")}
        return {**usual, **given}

    @model_validator(mode="after")
    def _something(self) -> Self:
        if all(part.train == "frozen" for part in self.parts().values()):
            raise ValueError("nothing to train: vision, projector and language are all frozen: make one full or lora")
        if self.projector.layers:
            raise ValueError("projector.layers: it is trained as a whole: remove it")
        return self

    def parts(self) -> dict[str, Part]:
        """The three parts of the model by name."""
        return {"vision": self.vision, "projector": self.projector, "language": self.language}


def check_window(model: Path, max_length: int) -> None:
    """Training lets a token see all before it: a language model with a sliding window must not get more than it sees.

    Raises:
        InputError: its window is smaller than `max_length`.
    """
    from llavamed.model.towers import read_json

    said = read_json(model / "config.json", needed=False).get("text_config", {})
    window = said.get("sliding_window")
    slides = "sliding_attention" in said.get("layer_types", ["sliding_attention"])  # of older kinds, all layers
    if window and slides and window < max_length:
        raise InputError(
            f"{model}: its language model sees {window} tokens (sliding_window), which training does not keep, and "
            f"max_length is {max_length}: set max_length: {window} or less"
        )
