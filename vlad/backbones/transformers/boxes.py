"""Models of transformers that find in an image what words name, as boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from PIL import Image

from vlad.backbones.transformers import check_depth, check_weights, reading
from vlad.errors import BackboneError
from vlad.system.text import shown
from vlad.system.torch_state import own_state
from vlad.types import Box

# those that read all phrases as one text, and those that read each by itself
JOINT, SINGLE = ("grounding-dino", "mm-grounding-dino"), ("owlv2", "owlvit")
# of the boxes of FiLo's authors: the least score, and the share of the image that none fills
SURE, LARGE = 0.25, 0.7
REMEDY = "give a folder as --boxes-model, or boxes as --boxes"


class BoxModel:
    """A model for zero-shot object detection, from a folder, the local cache or the model hub.

    Args:
        name: a folder that `save_pretrained` wrote, with its processor, or a name on the hub.
        device: where it computes.

    Raises:
        BackboneError: a model of another type, or files that cannot be downloaded or read.
    """

    def __init__(self, name: str, device: torch.device | str = "cpu"):
        from transformers import (
            AutoConfig,
            AutoModelForZeroShotObjectDetection,
            AutoProcessor,
            PretrainedConfig,
        )

        self.name, self.device = name, device
        with reading(name, REMEDY) as options:
            entries = PretrainedConfig.get_config_dict(name, **options)[0]
            kind = entries.get("model_type")
            if kind not in JOINT + SINGLE:
                raise BackboneError(
                    f"{name} is of type {shown(repr(kind))}, which finds no boxes by words; choose "
                    f"a model of type {', '.join(JOINT + SINGLE)}."
                )
            check_depth(name, entries)
            config = AutoConfig.from_pretrained(name, **options)
            config._attn_implementation = "eager"  # a file could name code on the hub
            model, found = AutoModelForZeroShotObjectDetection.from_pretrained(
                name,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
            check_weights(name, model, found["missing_keys"], found["mismatched_keys"])
            self.processor: Any = AutoProcessor.from_pretrained(name, **options)
        self.joint = kind in JOINT
        text = config.text_config
        self.length = config.max_text_len if self.joint else text.max_position_embeddings
        self.model = model.eval().requires_grad_(False).to(device)

    @cached_property
    def identity(self) -> str:
        """Its name with a hash of its configuration and weights, for the settings of a run."""
        digest = hashlib.sha256(self.model.config.to_json_string().encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().flatten().view(torch.uint8).numpy())
        return f"{self.name}@{digest.hexdigest()[:16]}"

    @own_state()
    @torch.no_grad()
    def find(self, image: Image.Image, phrases: Sequence[str]) -> tuple[Box, ...]:
        """Boxes of an RGB image, each with the phrase that fits it best and that phrase's score.

        As FiLo's authors do, it keeps those with a score of `SURE` or more that fill less than
        `LARGE` of the image, or the surest box if there are none.

        Raises:
            BackboneError: a phrase with more tokens than the model reads.
        """
        phrases = [phrase for phrase in phrases if phrase.strip(" .")]
        text = ". ".join(phrase.replace(".", " ").lower() for phrase in phrases) + "."
        self._check_length([text] if self.joint else phrases)
        read = text if self.joint else [phrases]
        inputs = self.processor(images=image, text=read, return_tensors="pt")
        found = self.model(**inputs.to(self.device))
        width, height = image.size
        (placed,) = self.processor.post_process_grounded_object_detection(
            found, threshold=-1.0, target_sizes=[(height, width)]
        )
        chances = found.logits[0].sigmoid().cpu()
        if self.joint:
            places = self._places(inputs["input_ids"][0].tolist())
            chances = torch.stack([chances[:, place].amax(dim=1) for place in places], dim=1)
        scores, best = chances.max(dim=1)
        sides = torch.tensor([width, height, width, height])
        edges = (placed["boxes"].cpu() / sides).clamp(0, 1)
        areas = (edges[:, 2:] - edges[:, :2]).clamp(min=0).prod(dim=1)
        inside = (areas > 0).nonzero().flatten().tolist()  # others lie in what pads the image
        kept = [i for i in inside if scores[i] >= SURE and areas[i] < LARGE]
        if inside and not kept:
            kept = [max(inside, key=lambda i: float(scores[i]))]
        return tuple(
            Box(tuple(edges[i].tolist()), float(scores[i]), phrases[int(best[i])]) for i in kept
        )

    def _check_length(self, texts: Sequence[str]) -> None:
        for text in texts:
            tokens = len(self.processor.tokenizer(text, verbose=False)["input_ids"])
            if tokens > self.length:
                raise BackboneError(
                    f"{self.name} reads {self.length} tokens, and {shown(repr(text))} has "
                    f"{tokens}; choose another model, or write shorter faults in a copy of the "
                    "prompt bank."
                )

    def _places(self, tokens: Sequence[int]) -> list[list[int]]:
        """The places of the tokens of each phrase in their text."""
        stop = self.processor.tokenizer.convert_tokens_to_ids(".")
        inner = range(1, len(tokens) - 1)  # without the marks of start and end
        parts = groupby(inner, key=lambda place: tokens[place] == stop)
        return [list(part) for is_stop, part in parts if not is_stop]
