"""The settings of one training stage."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Stage(BaseModel):
    """What is trained, for how long and how fast. The vision tower stays frozen in both stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[
        Literal["align", "instruct"],
        Field(description="align: the projector learns; instruct: the projector and the language model"),
    ]
    epochs: Annotated[int, Field(ge=1, description="times each conversation is seen")] = 1
    batch_size: Annotated[int, Field(ge=1, description="conversations a step")] = 16
    learning_rate: Annotated[float, Field(gt=0, description="its peak, after warm-up; then it falls as a cosine")]
    weight_decay: Annotated[float, Field(ge=0, description="AdamW's")] = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps in which the rate rises")] = 0.03
    max_length: Annotated[
        int, Field(ge=8, description="tokens, picture included; longer conversations are excluded")
    ] = 2048
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        Field(description="of the arithmetic; auto: bf16 where the machine is fast at it"),
    ] = "auto"
    seed: Annotated[int, Field(ge=0, description="order of the conversations")] = 0
