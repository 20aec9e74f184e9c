"""Vision-language models of Hugging Face transformers, on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch

from vlad.backbones import choose_device
from vlad.backbones.transformers import check_weights, reading
from vlad.errors import VlmError
from vlad.system.text import counted, shown
from vlad.vlm.cache import Answers
from vlad.vlm.model import VLM, Choice, Reply, Request
from vlad.vlm.size import check_memory, fingerprint

DTYPES = ("auto", "float32", "bfloat16", "float16")
REMEDY = "name a folder, or the address of an endpoint"


def load_local(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch: int = 4,
    answers: Answers | None = None,
) -> LocalVLM:
    """A model of transformers' task `image-text-to-text`, by name or folder.

    Raises:
        VlmError: a model that reads no images, brings code of its own, or has no chat template;
            too little memory.
        BackboneError: weights that cannot be downloaded or read.
    """
    import transformers

    if dtype not in DTYPES:
        raise VlmError(f"dtype is {dtype!r}; choose from {', '.join(DTYPES)}.")
    device = choose_device(device)
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each kind of device raises its own errors
        raise VlmError(
            f"{name} cannot compute on device {device!r} ({shown(error)}); choose another `device`."
        ) from error
    with reading(name, REMEDY) as options:
        config = _config(name, options)
        size = check_memory(name, config, dtype, torch.device(device))
        said = f"{size / 2**30:.1f} GiB" if size else "an unknown size"
        print(f"Loading {name}: {said} of weights.", file=sys.stderr)
        processor = _processor(name, options)
        loaded: Any = transformers.AutoModelForImageTextToText.from_pretrained(
            name,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
        model, found = loaded
        check_weights(name, model, found["missing_keys"], found["mismatched_keys"])
    processor.tokenizer.padding_side = "left"
    identity = f"{fingerprint(name, config)} {dtype}"
    made = LocalVLM(name, identity, batch, model.eval().to(device), processor)
    made.kept = answers
    return made


def _config(name: str, options: dict) -> Any:
    """The config of a model that reads images and text.

    Raises:
        VlmError: as `load_local`.
    """
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
    )

    entries = transformers.PretrainedConfig.get_config_dict(name, **options)[0]
    kind = entries.get("model_type")
    if kind not in KNOWN and "auto_map" in entries:
        raise VlmError(
            f"{name} brings code of its own, which vlad never runs; choose a model that "
            "transformers itself has, or serve it behind an endpoint."
        )
    if kind not in KNOWN:
        raise VlmError(
            f"{name} is of type {shown(kind)}, which does not answer questions about images; "
            "choose a model of the task image-text-to-text, such as Qwen/Qwen2-VL-2B-Instruct."
        )
    return transformers.AutoConfig.from_pretrained(name, **options)


def _processor(name: str, options: dict) -> Any:
    """What prepares text and images for a model.

    Raises:
        VlmError: a package that it needs is missing, or it has no chat template.
    """
    import transformers

    try:
        processor = transformers.AutoProcessor.from_pretrained(name, **options)
    except ImportError as error:
        why = next(iter(str(error).strip().splitlines()), "").rstrip(".")
        raise VlmError(
            f"{name} needs a package that is not here ({shown(why)}); install it."
        ) from error
    if not getattr(processor, "chat_template", None):
        raise VlmError(
            f"{name} has no chat template, so it cannot be asked; choose a model tuned on "
            "instructions."
        )
    return processor


class LocalVLM(VLM):
    """A model and its processor, as transformers loads them.

    Args:
        model: with `generate`.
        processor: with a chat template and a tokenizer that pads on the left.
    """

    def __init__(self, name: str, identity: str, batch: int, model: Any, processor: Any) -> None:
        self.name, self.identity, self.batch = name, identity, batch
        self.model, self.processor = model, processor

    @torch.no_grad()
    def write(
        self, requests: Sequence[Request], schema: Mapping | None, max_tokens: int
    ) -> list[Reply]:
        replies: list[Reply] = []
        # processors pad the images of a batch; with equal numbers an answer is that of its request
        for _, group in groupby(requests, key=lambda request: len(request.images)):
            with self._enough_memory():
                replies += self._write(list(group), max_tokens)
        return replies

    def _write(self, requests: list[Request], max_tokens: int) -> list[Reply]:
        start = time.perf_counter()
        inputs = self._inputs(requests)
        read = inputs["input_ids"].shape[1]
        tokens = self.model.generate(
            **inputs, do_sample=False, num_beams=1, max_new_tokens=max_tokens
        )[:, read:]
        texts = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        share = (time.perf_counter() - start) / len(requests)
        return [
            Reply(text.strip(), None, "", share, int(mask.sum()), self._written(row))
            for text, mask, row in zip(texts, inputs["attention_mask"], tokens, strict=True)
        ]

    def _written(self, row: torch.Tensor) -> int:
        """Tokens up to the first one that ends an answer, with it."""
        ends = torch.tensor(_ends(self.model.generation_config), device=row.device)
        ended = torch.isin(row, ends).nonzero()
        return int(ended[0]) + 1 if len(ended) else len(row)

    @torch.no_grad()
    def weigh(self, requests: Sequence[Request], choices: Sequence[str]) -> list[Choice]:
        """Each choice's probability as the next words, with and without a space before it.

        That of a choice of several tokens is their product, teacher-forced.
        """
        found: list[Choice] = []
        for _, group in groupby(requests, key=lambda request: len(request.images)):
            start = time.perf_counter()
            with self._enough_memory():
                inputs = self._inputs(list(group))
                first = self._logs(inputs, 1)[:, 0]
                logs = torch.stack([self._log(inputs, first, choice) for choice in choices], dim=1)
            rows, read = logs.softmax(dim=1).tolist(), inputs["attention_mask"].sum(1).tolist()
            seconds = (time.perf_counter() - start) / len(rows)
            for row, tokens in zip(rows, read, strict=True):
                likeliest = max(range(len(row)), key=row.__getitem__)
                found.append(Choice(tuple(row), choices[likeliest], "", seconds, tokens))
        return found

    def _log(
        self, inputs: dict[str, torch.Tensor], first: torch.Tensor, choice: str
    ) -> torch.Tensor:
        """(B,) log-probability of a choice, by either way to write it."""
        written = {
            tuple(self.processor.tokenizer.encode(text, add_special_tokens=False))
            for text in (choice, f" {choice}")
        }
        return torch.stack(
            [first[:, ids[0]] + self._rest(inputs, ids) for ids in sorted(written)]
        ).logsumexp(0)

    def _rest(self, inputs: dict[str, torch.Tensor], ids: tuple[int, ...]) -> torch.Tensor:
        """(B,) log-probability of all tokens but the first, each after those before it."""
        added = torch.tensor(ids, device=self.model.device).expand(len(inputs["input_ids"]), -1)
        if len(ids) == 1:
            return torch.zeros(len(added), device=added.device)
        # the last token need not be read
        some = added[:, :-1]
        read = {
            "input_ids": some,
            "attention_mask": torch.ones_like(some),
            "mm_token_type_ids": torch.zeros_like(some),  # of text
            "token_type_ids": torch.zeros_like(some),
        }
        longer = {
            key: torch.cat([value, read[key]], dim=1) if key in read else value
            for key, value in inputs.items()
        }
        logs = self._logs(longer, len(ids) - 1)
        return logs.gather(2, added[:, 1:, None]).sum(dim=(1, 2))

    def _logs(self, inputs: dict[str, torch.Tensor], last: int) -> torch.Tensor:
        """(B, last, V) log-probabilities of the tokens that follow each of the last ones."""
        return self.model(**inputs, logits_to_keep=last).logits[:, -last:].float().log_softmax(-1)

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        """Turns what a full GPU raises into one sentence."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise VlmError(
                f"{self.name} ran out of memory over {counted(self.batch, 'request')} at once; "
                "choose a smaller model or `batch`."
            ) from error

    def _inputs(self, requests: list[Request]) -> dict[str, torch.Tensor]:
        """What the model reads of some requests with equally many images."""
        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        *({"type": "image", "image": image} for image in request.images),
                        {"type": "text", "text": request.text},
                    ],
                }
            ]
            for request in requests
        ]
        made = self.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            processor_kwargs={"padding": True},
        )
        return {
            key: value.to(self.model.device, self.model.dtype)
            if value.is_floating_point()
            else value.to(self.model.device)
            for key, value in made.items()
        }


def _ends(config: Any) -> list[int]:
    ends = config.eos_token_id
    return ends if isinstance(ends, list) else [] if ends is None else [ends]
