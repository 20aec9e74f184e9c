"""A backbone: an image encoder, an optional text encoder, and the normalisation of its images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from vlad.backbones.block import recompute
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.text import PlainText, TextTransformer
from vlad.backbones.vit import Taps, VisionTransformer
from vlad.errors import HeadError
from vlad.system.torch_state import own_state
from vlad.types import Activation, BackboneInfo, Interpolation

TEXT_BATCH = 64


@dataclass
class Backbone:
    """A frozen image (and text) encoder.

    Its weights never require gradients, so a pass stores nothing for them unless learned tokens
    enter it.

    Attributes:
        info: its description for heads.
        model: the module with the weights.
        build: model -> its image encoder over these modules (called again after each move).
        read: model -> its text encoder, or None (called again after each move).
        blocks: model -> the module with its image encoder's blocks; None leaves lower precision to
            a GenericEncoder.
        mean, std: normalisation of the pixels, per channel, in [0, 1] units.
        config: further settings that its text embeddings depend on (such as activation).
        interpolation: how images are resized to its input.
        vision: the image encoder, by the module's own forward pass.
        passes: called in place of `vision` by other runtimes; else None.
        runtime, precision: names of the runtime and its number format.
    """

    info: BackboneInfo
    model: torch.nn.Module
    build: Callable[[torch.nn.Module], VisionTransformer | GenericEncoder]
    read: Callable[[torch.nn.Module], TextTransformer | PlainText] | None
    blocks: Callable[[torch.nn.Module], torch.nn.Module] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    config: str = ""
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)
        self.dtype = torch.float32
        self._build()

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Backbone:
        """Move the weights; return the backbone itself.

        Args:
            dtype: type of the matrix products in the image encoder's blocks, which take most of the
                time. All else stays float32: the sums between blocks, since half precision would
                blur them, and text, since rounding it would shift the scores of all images.
        """
        self.model.to(device=device)
        for module in self.blocks(self.model).modules() if self.blocks else ():
            if isinstance(module, torch.nn.Linear | torch.nn.MultiheadAttention):
                module.to(dtype=dtype)
        self.dtype = dtype
        self._build()
        for name in ("fingerprint", "weights"):
            self.__dict__.pop(name, None)
        return self

    def recompute(self) -> None:
        """Recompute each block for gradients from now on, to save memory."""
        for transformer in (self.vision, self.text):
            if isinstance(transformer, VisionTransformer | TextTransformer):
                transformer.call = recompute

    def __getstate__(self) -> dict:
        """All but what is built over the modules, which is built again."""
        built = ("vision", "passes", "text", "fingerprint", "weights")
        return {name: value for name, value in vars(self).items() if name not in built}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._build()

    def _build(self) -> None:
        self.vision = self.build(self.model)
        if isinstance(self.vision, GenericEncoder):
            self.vision.dtype = self.dtype
        self.passes: Callable[..., Taps] | None = None
        self.runtime, self.precision = "torch", str(self.dtype).removeprefix("torch.")
        self.text = self.read and self.read(self.model)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def fingerprint(self) -> str:
        """Hash of configuration and weights (a sample of every tensor), the key of cached text."""
        digest = hashlib.sha256(self.config.encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(_sample(tensor))
        return digest.hexdigest()

    @cached_property
    def weights(self) -> str:
        """Hash of its numbers alone, the same whatever a library calls its modules."""
        parts = sorted(map(_sample, self.model.parameters()))
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def forward(self, pixels: torch.Tensor, **options) -> Taps:
        """One pass of the image encoder in the backbone's runtime.

        See `VisionTransformer.__call__`.
        """
        return (self.passes or self.vision)(pixels, **options)

    def maps(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Five maps (B, C, H / s, W / s) of its convolutional network, in float32.

        The strides s are 2, 4, 8, 16 and 32. Torch computes them, whatever the runtime.
        """
        run = self.vision.pyramid
        assert run is not None  # `check_spec` refuses all others
        half = self.dtype != torch.float32
        with torch.autocast(pixels.device.type, self.dtype if half else None, enabled=half):
            return tuple(x.float().contiguous() for x in run(pixels))

    @own_state()
    def encode_text(
        self,
        sentences: Sequence[str],
        *,
        activation: Activation | None = None,
        context: torch.Tensor | None = None,
        deep: Mapping[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Projected, unnormalised embeddings (N, D) of sentences, in float32.

        Args:
            activation: overrides the activation of the MLPs.
            context: (m, T) learned tokens before every sentence; with (B, m, T), those of B images,
                embeddings are (B, N, D).
            deep: block (from 1) -> (k, T) tokens that replace those after the first.

        Raises:
            HeadError: the backbone has no text encoder, or it does not accept learned tokens.
        """
        if self.text is None:
            raise HeadError(
                f"The backbone {self.info.name} has no text encoder for prompts; choose a CLIP or "
                "SigLIP backbone, or a head that needs no text, such as memory."
            )
        batches = range(0, len(sentences), TEXT_BATCH)
        parts = [
            self.text(
                list(sentences[i : i + TEXT_BATCH]),
                activation=activation,
                context=context,
                deep=deep,
            )
            for i in batches
        ]
        return torch.cat(parts, dim=-2).float()


def _sample(tensor: torch.Tensor) -> bytes:
    """Some of its numbers, over all of it."""
    values = tensor.detach().flatten()
    return values[:: max(1, len(values) // 256)].float().cpu().numpy().tobytes()
