"""The backbone: configuration, initialisation, passes over any set of patches, and export."""

import json

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from tiny import start
from tiny.constants import MEAN, PATCH, STD

CONFIG = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": 240,
        "layers": 6,
        "width": 192,
        "head_width": 64,
        "patch_size": PATCH,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 128,
        "heads": 2,
        "layers": 3,
    },
}


class Backbone(nn.Module):
    """An ``open_clip.model.CLIP`` with a short table of the words that captions use.

    Args:
        words: sentences whose tokens get a row of their own; every other token of the vocabulary
            shares row 0, which stays zero, so that an unknown word says nothing.
    """

    def __init__(self, words, config=CONFIG):
        super().__init__()
        self.config = config
        self.clip = CLIP(**config)
        self.tokenizer = SimpleTokenizer()
        ids = sorted({t for s in words for t in self.tokenizer.encode(s)})
        known = [*ids, self.tokenizer.sot_token_id, self.tokenizer.eot_token_id]
        self.known = torch.tensor(known)
        table = torch.zeros(config["text_cfg"]["vocab_size"], dtype=torch.long)
        table[self.known] = torch.arange(1, len(known) + 1)
        self.register_buffer("table", table, persistent=False)
        width = config["text_cfg"]["width"]
        self.clip.token_embedding = nn.Embedding(len(known) + 1, width, padding_idx=0)
        nn.init.normal_(self.clip.token_embedding.weight, std=0.05)
        with torch.no_grad():
            self.clip.token_embedding.weight[0] = 0
        initialise(self.clip.visual)

    def tokens(self, pixels):
        """Patch embeddings with their positions, before ``ln_pre``: (B, h·w, width)."""
        visual = self.clip.visual
        b, c, h, w = pixels.shape
        flat = pixels.reshape(b, c, h // PATCH, PATCH, w // PATCH, PATCH)
        flat = flat.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * PATCH * PATCH)
        x = flat @ visual.conv1.weight.reshape(visual.conv1.out_channels, -1).T
        return x + visual.positional_embedding[1:]

    def vision(self, tokens, index=None):
        """Run the backbone on some of the patches, each at its own position.

        Args:
            tokens: (B, N, width) from :meth:`tokens`.
            index: (B, n, k) patches of n subsets of each image; None takes all, n = 1.

        Returns:
            ``(image, patches)``: (B·n, D) projected CLS and (B·n, k, D) projected patches.
        """
        visual = self.clip.visual
        if index is not None:
            b, n, k = index.shape
            picked = index.reshape(b, n * k, 1).expand(-1, -1, tokens.shape[2])
            tokens = tokens.gather(1, picked).reshape(b * n, k, -1)
        first = visual.class_embedding + visual.positional_embedding[0]
        x = torch.cat([first.expand(len(tokens), 1, -1), tokens], 1)
        x = visual.ln_pre(x)
        for block in visual.transformer.resblocks:
            x = block(x)
        x = visual.ln_post(x) @ visual.proj
        return x[:, 0], x[:, 1:]

    def text(self, sentences):
        """Un-normalised text embeddings (S, D); the context is cut to the longest sentence."""
        ids = self.tokenizer(sentences)
        length = int((ids != 0).sum(1).max())
        ids = ids[:, :length]
        clip = self.clip
        x = clip.token_embedding(self.table[ids]) + clip.positional_embedding[:length]
        x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        x = clip.ln_final(x)
        return x[torch.arange(len(ids)), ids.argmax(1)] @ clip.text_projection

    def full_state(self, state=None):
        """The state dict with open_clip's full vocabulary; rows of unknown tokens are zero."""
        state = dict(state or self.clip.state_dict())
        width = self.config["text_cfg"]["width"]
        rows = torch.zeros(self.config["text_cfg"]["vocab_size"], width)
        rows[self.known] = state["token_embedding.weight"][1:]
        state["token_embedding.weight"] = rows
        return state


@torch.no_grad()
def initialise(visual):
    """The descriptor of :mod:`tiny.start`, frozen; above it blocks that add nothing yet."""
    start.write_descriptor(visual)
    blocks = visual.transformer.resblocks
    width = visual.conv1.out_channels
    for block in blocks[start.DESCRIPTOR_BLOCKS :]:
        weight = block.attn.in_proj_weight
        # queries equal keys: at first a token attends to its like
        nn.init.orthogonal_(weight[:width])
        weight[width : 2 * width] = 0.7 * weight[:width] + 0.02 * torch.randn_like(weight[:width])
        nn.init.orthogonal_(weight[2 * width :])
        block.attn.in_proj_bias.zero_()
        nn.init.normal_(block.mlp.c_fc.weight, std=width**-0.5)
        for out in (block.attn.out_proj, block.mlp.c_proj):
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)
    start.write_novelty(blocks[start.DESCRIPTOR_BLOCKS])
    for part in (visual.conv1, visual.ln_pre, *blocks[: start.FROZEN_BLOCKS]):
        part.requires_grad_(False)
    visual.positional_embedding.requires_grad_(False)
    visual.class_embedding.requires_grad_(False)


def export(backbone, state, folder):
    """Write ``vlad-tiny.safetensors`` (half precision) and ``vlad-tiny.json``, atomically."""
    half = {k: v.half().contiguous() for k, v in backbone.full_state(state).items()}
    half["logit_scale"] = half["logit_scale"].reshape(())
    temporary = folder / "vlad-tiny.part"
    save_file(half, temporary)
    temporary.replace(folder / "vlad-tiny.safetensors")
    (folder / "vlad-tiny.json").write_text(json.dumps(backbone.config, indent=2) + "\n")


def normalise(pixels):
    """uint8 (B, H, W, 3) to CLIP's normalised float (B, 3, H, W)."""
    return ((pixels.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2)


def cosine(a, b):
    """Cosines between the last dimensions of (..., n, d) and (m, d): (..., n, m)."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
