"""Small random models for zero-shot object detection, in folders with their processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ("dirt", "inside", "broken", "rust")
START, END, STOP = 101, 102, 1012  # the numbers that Grounding DINO looks for
PART = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
OWL_TEXT = PART | {"vocab_size": 1100, "hidden_size": 16, "max_position_embeddings": 16}
OWL_VISION = PART | {"hidden_size": 16, "image_size": 32, "patch_size": 8}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 1, 1], "window_size": 4}
BERT = PART | {"vocab_size": 1100, "hidden_size": 16, "max_position_embeddings": 64}
DINO = {
    "d_model": 32,
    "num_queries": 10,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_feature_levels": 3,
    "max_text_len": 32,
}


def owlv2(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    ids = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": 1}
    config = transformers.Owlv2Config(
        text_config=OWL_TEXT | ids, vision_config=OWL_VISION, projection_dim=16
    )
    images = transformers.Owlv2ImageProcessor(size={"height": 32, "width": 32})
    read = transformers.Owlv2Processor(images, tokenizer(16))
    return save(transformers.Owlv2ForObjectDetection(config), read, folder)


def grounding_dino(folder: Path) -> Path:
    torch.manual_seed(0)
    swin = transformers.SwinConfig(
        image_size=32, patch_size=4, out_features=["stage2", "stage3"], **SWIN
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=swin, text_config=transformers.BertConfig(**BERT), **DINO
    )
    images = transformers.GroundingDinoImageProcessor(
        size={"shortest_edge": 32, "longest_edge": 64}
    )
    read = transformers.GroundingDinoProcessor(images, tokenizer(64))
    return save(transformers.GroundingDinoForObjectDetection(config), read, folder)


def tokenizer(longest: int) -> Any:
    vocabulary = {"<pad>": 1, "<unk>": 3, "<s>": START, "</s>": END, ".": STOP}
    vocabulary |= {word: number for number, word in enumerate(WORDS, start=4)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=longest,
    )


def save(model: Any, processor: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
