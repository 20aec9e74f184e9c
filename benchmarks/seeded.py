"""Backbones and adapters with random values: the time of a pass does not depend on them."""

from __future__ import annotations

from pathlib import Path

import torch

from vlad.adapters import Adapter, save_adapter
from vlad.adapters.layouts import default_params, tensor_shapes
from vlad.backbones.backbone import Backbone


def random_model(name: str, size: int | None = None) -> torch.nn.Module:
    """A model of open_clip with seeded random weights, for images of `size` or its own size."""
    import open_clip

    torch.manual_seed(0)
    return open_clip.create_model(name, force_image_size=size).eval()


def backbone_of(name: str, model: torch.nn.Module) -> Backbone:
    """vlad's backbone over a model of open_clip of that name."""
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    from vlad.backbones.open_clip import as_backbone

    tokenizer = open_clip.get_tokenizer(name)
    return as_backbone(name, model, tokenizer, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def random_adapter(head: str, backbone: Backbone, folder: Path) -> Path:
    """An adapter of the right shapes."""
    params = default_params(head, backbone.info)
    tensors = {
        # variances are positive
        name: torch.ones(shape) if "running_var" in name else 0.02 * torch.randn(shape)
        for name, shape in tensor_shapes(head, backbone.info, params).items()
    }
    adapter = Adapter(
        name=head,
        head=head,
        backbone=backbone.info.name,
        auxiliary="nothing",
        params=params,
        tensors=tensors,
    )
    save_adapter(adapter, folder)
    return folder
