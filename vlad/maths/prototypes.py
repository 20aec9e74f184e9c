"""The networks of INP-Former: prototypes of one image, and its tokens rebuilt from them.

Shapes: B images, N patches, D channels, M prototypes. Tensors are named by part ("extractor",
"bottleneck", "decoder.0", ...), as `vlad.heads.inp_former` makes them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from vlad.maths.networks import Tensors, linear

EPS = 1e-8  # of the layer norms


def prototypes(x: torch.Tensor, tensors: Tensors) -> torch.Tensor:
    """(B, N, D) tokens -> (B, M, D): what learned tokens gather from the image by attention."""
    name = "extractor"
    t = tensors["tokens"].to(x).expand(len(x), -1, -1)
    q = linear(_norm(t, tensors, f"{name}.norm1"), tensors, f"{name}.attn.q")
    k, v = linear(_norm(x, tensors, f"{name}.norm1"), tensors, f"{name}.attn.kv").chunk(2, dim=-1)
    heads = heads_of(x.shape[-1])
    q, k, v = (_split(part, heads) for part in (q, k, v))
    found = F.scaled_dot_product_attention(q, k, v)
    t = t + linear(_joined(found), tensors, f"{name}.attn.proj")
    return t + _mlp(_norm(t, tensors, f"{name}.norm2"), tensors, f"{name}.mlp")


def to_prototypes(x: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """(B, N, D) tokens, (B, M, D) -> (B, N): cosine distance to the nearest prototype."""
    cosine = F.normalize(x, dim=-1) @ F.normalize(found, dim=-1).transpose(1, 2)
    return 1 - cosine.amax(dim=-1)


def rebuilt(
    x: torch.Tensor, found: torch.Tensor, tensors: Tensors, groups: int
) -> list[torch.Tensor]:
    """What the decoder makes of (B, N, D) tokens with (B, M, D) prototypes: (B, N, D) each group.

    The last blocks rebuild the first group of layers.
    """
    z, outputs = _mlp(x, tensors, "bottleneck"), []
    for i in range(depth_of(tensors)):
        z = _decode(z, found, tensors, f"decoder.{i}")
        outputs.append(z)
    outputs.reverse()
    return [torch.stack(part).mean(dim=0) for part in halves(outputs, groups)]


def halves(items: list, groups: int) -> list[list]:
    """A list in one part, or in two of which the first may be one longer."""
    middle = len(items) if groups == 1 else (len(items) + 1) // 2
    return [part for part in (items[:middle], items[middle:]) if part]


def heads_of(width: int) -> int:
    """Attention heads of about 64 channels, as many as divide the width."""
    return next(n for n in range(max(1, width // 64), 0, -1) if width % n == 0)


def depth_of(tensors: Tensors) -> int:
    """Number of blocks of the decoder."""
    return sum(name.endswith("attn.scale") for name in tensors)


def _decode(z: torch.Tensor, found: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    """A block without the usual residual: tokens are weighted sums of prototypes, and an MLP."""
    scale = tensors[f"{name}.attn.scale"]
    q = linear(_norm(z, tensors, f"{name}.norm1"), tensors, f"{name}.attn.q")
    kv = linear(_norm(found, tensors, f"{name}.norm1"), tensors, f"{name}.attn.kv")
    q, k, v = (_split(part, len(scale)) for part in (q, *kv.chunk(2, dim=-1)))
    weights = (scale * F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3)).relu()
    z = linear(_joined(weights @ v), tensors, f"{name}.attn.proj")
    return z + _mlp(_norm(z, tensors, f"{name}.norm2"), tensors, f"{name}.mlp")


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, D) -> (B, heads, N, D/heads)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


def _norm(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    return F.layer_norm(
        x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps=EPS
    )


def _mlp(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    return linear(F.gelu(linear(x, tensors, f"{name}.fc1")), tensors, f"{name}.fc2")
