"""Small vision-language models with seeded random weights, in folders as save_pretrained writes.

One token is one byte, so any text can be read and written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

QWEN = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
QWEN_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IDEFICS = (
    *("<|im_start|>", "<end_of_utterance>", "<pad>", "<fake_token_around_image>", "<image>"),
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)
IDEFICS_CHAT = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip


def qwen2_vl(folder: Path, says: str = "") -> Path:
    """A Qwen2-VL.

    Args:
        says: one answer that it gives to everything; "" leaves that to its random weights.
    """
    words = words_of(QWEN, says, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    processor = transformers.Qwen2VLProcessor(
        transformers.Qwen2VLImageProcessor(min_pixels=28 * 28 * 4, max_pixels=28 * 28 * 16),
        words,
        transformers.Qwen2VLVideoProcessor(),
        chat_template=QWEN_CHAT,
    )
    number = words.convert_tokens_to_ids
    config = transformers.Qwen2VLConfig(
        text_config={
            **TEXT,
            "vocab_size": len(words),
            "bos_token_id": None,
            "eos_token_id": number("<|im_end|>"),
            "pad_token_id": number("<|endoftext|>"),
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 3, 3],
                "rope_theta": 10000.0,
            },
        },
        vision_config={
            "depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Qwen2VLForConditionalGeneration(config)
    return _save(folder, model, processor, says, number("<|im_end|>"), number("<|endoftext|>"))


def idefics3(folder: Path, says: str = "") -> Path:
    """An Idefics3, of the same family as SmolVLM; see `qwen2_vl`."""
    special = {"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<pad>"}
    words = words_of(IDEFICS, says, **special)
    images = transformers.Idefics3ImageProcessor(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=False
    )
    processor = transformers.Idefics3Processor(
        images, words, image_seq_len=4, chat_template=IDEFICS_CHAT
    )
    number = words.convert_tokens_to_ids
    config = transformers.Idefics3Config(
        image_token_id=number("<image>"),
        pad_token_id=number("<pad>"),
        scale_factor=2,
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        text_config={
            **TEXT,
            "model_type": "llama",
            "vocab_size": len(words),
            "bos_token_id": number("<|im_start|>"),
            "eos_token_id": number("<end_of_utterance>"),
            "pad_token_id": number("<pad>"),
        },
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Idefics3ForConditionalGeneration(config)
    return _save(folder, model, processor, says, number("<end_of_utterance>"), number("<pad>"))


VLMS = {made.__name__: made for made in (qwen2_vl, idefics3)}


def words_of(
    special: Sequence[str], says: str, **roles: str
) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of bytes; what the model always says is token 0."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    first = [says] if says else []
    known = {text: number for number, text in enumerate([*first, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=known, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in first])
    tokenizer.add_special_tokens(list(special))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=8192, **roles
    )


def _save(folder: Path, model, processor, says: str, end: int, pad: int) -> Path:
    settings = model.generation_config
    settings.eos_token_id, settings.pad_token_id = end, pad
    if says:
        # all logits are 0, so greedy decoding takes token 0, which ends the answer
        torch.nn.init.zeros_(model.lm_head.weight)
        settings.eos_token_id = 0
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
