"""Small tokenizers in the files and keys of the released repositories."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, WordPieceTrainer

Files = dict[str, bytes]
SENTENCES = ["a photo of a flawless broken damaged nut, hazelnut or bottle with a scratch."] * 9


def as_json(content: Any) -> bytes:
    return json.dumps(content, indent=2).encode()


@cache
def bpe(start: str, end: str, pad: str, suffix: str = "</w>") -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token=end, end_of_word_suffix=suffix))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    special = [token for token in dict.fromkeys([pad, start, end, "<unk>"]) if token]
    trainer = BpeTrainer(
        vocab_size=390, special_tokens=special, end_of_word_suffix=suffix, show_progress=False,
        initial_alphabet=[*"abcdefghijklmnopqrstuvwxyz.,"],
    )  # fmt: skip
    made.train_from_iterator(SENTENCES, trainer)
    last = (end, made.token_to_id(end))
    first = [(start, made.token_to_id(start))] if start else []
    template = f"{start} $A {end}".strip()
    made.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[*first, last]
    )
    return made


def clip_tokenizer() -> Files:
    """Of OpenAI's repositories: its parts beside the whole."""
    made = bpe("<|startoftext|>", "<|endoftext|>", "")
    whole = json.loads(made.to_str())
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in whole["model"]["merges"])])
    special = {
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }  # fmt: skip
    settings = {"tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "model_max_length": 64}
    return {
        "tokenizer.json": made.to_str().encode(),
        "vocab.json": as_json(made.get_vocab()),
        "merges.txt": merges.encode(),
        "special_tokens_map.json": as_json(special),
        "tokenizer_config.json": as_json(settings | special),
    }


def pieces(kind: str, model: str) -> Files:
    """Of Google's repositories: words begin with a mark; beside it a model of SentencePiece."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trainer = BpeTrainer(vocab_size=390, special_tokens=tokens, show_progress=False)
    made.train_from_iterator(SENTENCES, trainer)
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    special |= {"unk_token": "<unk>"}
    settings = {"tokenizer_class": kind, "model_max_length": 64, "do_lower_case": True}
    settings |= {"add_bos_token": False, "add_eos_token": True}
    return {
        "tokenizer.json": made.to_str().encode(),
        model: b"of SentencePiece",
        "special_tokens_map.json": as_json(special),
        "tokenizer_config.json": as_json(settings | special),
    }


def bert_tokenizer() -> Files:
    """Of the oldest repositories: config.json tells its class."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    made.train_from_iterator(SENTENCES, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    vocabulary = made.get_vocab()
    return {
        "config.json": as_json({"model_type": "bert", "vocab_size": len(vocabulary)}),
        "tokenizer.json": made.to_str().encode(),
        "tokenizer_config.json": as_json({"do_lower_case": True, "model_max_length": 512}),
        "vocab.txt": "\n".join(sorted(vocabulary, key=vocabulary.get)).encode(),
        "model.safetensors": b"of a text encoder that nobody needs",
    }
