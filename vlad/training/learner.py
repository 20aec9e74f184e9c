"""A head's learned tensors as a module: a batch in, its losses out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch

from vlad.adapters import Adapter
from vlad.adapters.layouts import constant_of, tensor_shapes
from vlad.errors import HeadError, TrainingError
from vlad.heads import Trained, load_head
from vlad.prompts import Prompts, load_bank
from vlad.scoring.extractor import Extractor
from vlad.scoring.text import encode, encode_each
from vlad.scoring.textcache import embed_prompts
from vlad.training.feed import Batch
from vlad.training.objectives import batch_losses
from vlad.training.recipe import Phase
from vlad.types import Features

SPREAD = 0.02  # standard deviation of learned tokens and vectors before the first step
# the parts of a norm before it
NORM = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


class Learner(torch.nn.Module):
    """A head whose adapter is trained on a frozen backbone.

    Args:
        extractor: holds the backbone and its input size.
        adapter: its tensors are copied and trained.
        losses: names of the losses to compute.
        words: category -> what prompts call it, where that is not its name.

    Raises:
        AdapterError: the adapter does not fit the backbone.
        HeadError: the head needs text and the backbone has no text encoder.
    """

    def __init__(
        self,
        extractor: Extractor,
        adapter: Adapter,
        losses: Sequence[str],
        words: Mapping[str, str] | None = None,
    ):
        super().__init__()
        self.words = dict(words or {})
        self.extractor, self.backbone, self.losses = extractor, extractor.backbone, list(losses)
        self.names = list(adapter.tensors)
        device = self.backbone.device
        self.learned = torch.nn.ParameterList(
            torch.nn.Parameter(x.detach().clone().to(device), is_learned(name))
            for name, x in adapter.tensors.items()
        )
        # the head reads these parameters themselves, so it sees every update
        live = dict(zip(self.names, self.learned, strict=True))
        self.adapter = replace(adapter, tensors=live, sha256="")
        head = load_head(adapter.head, adapter=self.adapter)
        if not isinstance(head, Trained):
            raise HeadError(f"Head {adapter.head} is not a vlad.heads.head.Trained; make it one.")
        self.head, head.training = head, True
        self.spec = self.head.spec(self.backbone.info)
        extractor.check(self.spec)
        if self.head.bank and not self.backbone.info.has_text:
            raise HeadError(
                f"Head {adapter.head} compares images with prompts, but {self.backbone.info.name} "
                "has no text encoder; choose a CLIP backbone, or the recipe uniadet."
            )
        self.bank = load_bank(self.head.bank) if self.head.bank else None
        self._frozen: dict[str, torch.Tensor] = {}

    @property
    def cacheable(self) -> bool:
        """True if the backbone's pass over an image does not depend on learned tensors."""
        return self.spec.prompts is None

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Name -> loss of the batch, not yet weighted."""
        features = batch.features
        if features is None:
            (features,) = self.extractor.extract(batch.prepared, [self.spec])
        sides = self.sides(batch.categories, features)
        if batch.normals is None:
            logits = self.head.logits(features, sides)
        else:
            logits = self.head.pair_logits(features, sides, batch.normals)
        return batch_losses(
            self.losses, self.head, logits, batch.labels, batch.masks, batch.masked, features.grid
        )

    def sides(self, categories: Sequence[str], features: Features) -> torch.Tensor | None:
        """What each image is compared with, as the head's `sides`; None for a head without text."""
        if self.bank is None:
            return None
        prompts = [self.bank.expand(self.words.get(name, name)) for name in categories]
        if spec := self.head.text_spec():
            if spec.for_each_image:
                each = [
                    encode_each(self.backbone, said, spec, features.at(i))
                    for i, said in enumerate(prompts)
                ]
                return torch.cat([self.head.sides(text) for text in each])
            assert not callable(spec.deep)
            read = {
                said.key: self.head.sides(encode(self.backbone, said, spec, spec.deep))
                for said in {said.key: said for said in prompts}.values()
            }
            return torch.stack([read[said.key] for said in prompts])
        return torch.stack([self._read_once(said) for said in prompts])

    def _read_once(self, prompts: Prompts) -> torch.Tensor:
        """Cached embeddings: prompts without learned tokens are the same in every step."""
        if prompts.key not in self._frozen:
            text = self.spec.text
            activation = self.backbone.info.replaced(text.activation if text else None)
            found = embed_prompts(self.backbone, prompts, activation).to(self.backbone.device)
            self._frozen[prompts.key] = self.head.sides(found)
        return self._frozen[prompts.key]

    def groups(self, phase: Phase) -> list[dict]:
        """The parameters that a phase learns, by learning rate; all others get no gradients.

        Raises:
            TrainingError: a pattern of the phase fits no tensor.
        """
        groups: dict[str, dict] = {p: {"params": [], "lr": lr} for p, lr in phase.lr.items()}
        for name, parameter in self.adapter.tensors.items():
            pattern = rate_of(name, phase) if is_learned(name) else None
            parameter.requires_grad_(pattern is not None)
            if pattern is not None:
                groups[pattern]["params"].append(parameter)
        for pattern, group in groups.items():
            if not group["params"]:
                raise TrainingError(
                    f"No tensor of head {self.adapter.head} that is not learned at another rate "
                    f"has a name like {pattern!r}; choose from {', '.join(self.names)}."
                )
        return list(groups.values())

    def tensors(self) -> dict[str, torch.Tensor]:
        """A copy of the current learned tensors, on the CPU."""
        return {n: x.detach().cpu().clone() for n, x in self.adapter.tensors.items()}


def rate_of(name: str, phase: Phase) -> str | None:
    """The pattern of a phase that gives a tensor its learning rate; None if it is not learned."""
    return next((pattern for pattern in phase.lr if fnmatchcase(name, pattern)), None)


def initial_tensors(
    head: str, extractor: Extractor, params: Mapping, seed: int
) -> dict[str, torch.Tensor]:
    """A head's tensors before the first step, the same on every machine.

    Linear layers, convolutions and norms are initialised as in torch, what the head's layout names
    as it says there, and all others from N(0, 0.02²), as the methods' authors do.

    Raises:
        AdapterError: sizes that do not fit the backbone.
    """
    shapes = tensor_shapes(head, extractor.backbone.info, params)
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        layer, _, part = name.rpartition(".")
        weight = shapes.get(f"{layer}.weight", ())
        if (constant := constant_of(head, name)) is not None:
            found[name] = torch.full(shape, constant)
        elif part in ("weight", "bias") and len(weight) > 1:
            bound = 1 / math.sqrt(math.prod(weight[1:]))
            found[name] = (2 * torch.rand(shape, generator=generator) - 1) * bound
        elif part in NORM:
            found[name] = torch.full(shape, NORM[part])
        else:
            found[name] = SPREAD * torch.randn(shape, generator=generator)
    return found


def is_learned(name: str) -> bool:
    """True if gradients change a tensor; the running statistics of a norm are only counted."""
    return not name.endswith((".running_mean", ".running_var"))
