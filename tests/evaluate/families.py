"""Tiny random models of other families, with processors that need no torchvision."""

from pathlib import Path
from typing import Any

from llavamed.model.tokenizer import CHAT_TEMPLATE, IMAGE_TOKEN, bytes_only

SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SHAPE, "image_size": 28, "patch_size": 14}


def _words(*special: str) -> Any:
    words = bytes_only(2048)
    words.add_special_tokens({"additional_special_tokens": list(special)})
    return words


def _text(words: Any) -> dict[str, Any]:
    tokens = {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    return {**SHAPE, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 320, **tokens}


def llava_next() -> tuple[Any, Any]:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextProcessor,
    )
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    words, grid = _words(), [[28, 56], [56, 28]]  # other tokens for wide pictures than for high ones
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=LlamaConfig(**_text(words)),
        image_token_index=words.convert_tokens_to_ids(IMAGE_TOKEN),
        image_grid_pinpoints=grid,
        vision_feature_layer=-1,
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=grid
    )
    processor = LlavaNextProcessor(
        images, words, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    return LlavaNextForConditionalGeneration(config), processor


def idefics3() -> tuple[Any, Any]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    words = _words("<fake_token_around_image>", "<row_1_col_1>", "<global-img>", "<end_of_utterance>")
    config = Idefics3Config(
        vision_config=VISION,
        text_config=LlamaConfig(**_text(words)),
        image_token_id=words.convert_tokens_to_ids(IMAGE_TOKEN),
        pad_token_id=words.pad_token_id,
        scale_factor=2,
    )
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 28}, max_image_size={"longest_edge": 28}, do_image_splitting=False
    )
    processor = Idefics3Processor(images, words, image_seq_len=1, chat_template=CHAT_TEMPLATE)
    return Idefics3ForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    words = _words(*names.values())
    words._set_model_specific_special_tokens(names)
    begin, end, image = words.convert_tokens_to_ids(list(names.values()))
    config = Gemma3Config(
        vision_config={**VISION, "vision_use_head": False},
        text_config={**_text(words), "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
        image_token_index=image,
        boi_token_index=begin,
        eoi_token_index=end,
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
    )
    images = Gemma3ImageProcessorPil(size={"height": 28, "width": 28})
    template = CHAT_TEMPLATE.replace(IMAGE_TOKEN, "<start_of_image>")
    return Gemma3ForConditionalGeneration(config), Gemma3Processor(
        images, words, image_seq_length=4, chat_template=template
    )


def qwen2_5_vl() -> tuple[Any, Any]:
    """Its processor insists on a part for videos, which torchvision would have to read: it is left out here."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class Processor(Qwen2_5_VLProcessor):
        def check_argument_for_proper_class(self, name, argument):
            return None

    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    words = _words(*names)
    image, video, begin, end = words.convert_tokens_to_ids(list(names))
    config = Qwen2_5_VLConfig(
        vision_config={
            **SHAPE, "depth": 2, "num_heads": 2, "out_hidden_size": 32, "fullatt_block_indexes": [1], "window_size": 56,
        },
        text_config={**_text(words), "rope_parameters": {
            "rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4,
        }},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=begin,
        vision_end_token_id=end,
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56)
    template = CHAT_TEMPLATE.replace(IMAGE_TOKEN, "<|vision_start|><|image_pad|><|vision_end|>")
    return Qwen2_5_VLForConditionalGeneration(config), Processor(images, words, None, chat_template=template)


FAMILIES = {"llava_next": llava_next, "idefics3": idefics3, "gemma3": gemma3}


def build(family: Any, seed: int = 0) -> tuple[Any, Any]:
    """A model of which answers differ from picture to picture and end in different places."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = family()
        for weight in model.parameters():
            if weight.dim() > 1:  # Gemma's projector starts with zeros
                weight.data.normal_(std=0.3)
    model.generation_config.update(
        eos_token_id=processor.tokenizer.eos_token_id, pad_token_id=processor.tokenizer.pad_token_id
    )
    return model.eval(), processor


def save(family: Any, folder: Path) -> Path:
    model, processor = build(family)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
