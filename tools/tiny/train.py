"""Train the words of vlad-tiny: `python -m tiny.train WHEEL --out DIR [--images DIR ...]`.

The network of `tiny.convert` stays as it is. What learns are the blocks that read its features, and
the text encoder: damaged patches, windows and images are told from sound ones by sentences about
damaged and sound objects. A stopped run repeats from its start; what it drew is kept.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from tiny import captions, losses
from tiny.convert import fold, read_wheel
from tiny.data import Pairs
from tiny.features import extract
from tiny.images import COLOURS, Pool, RealImages
from tiny.objects import OBJECT_NOUNS
from vlad.backbones.clip import Tokenizer
from vlad.backbones.modules import text_of
from vlad.backbones.tiny.load import EMBEDDINGS, TOKENS
from vlad.backbones.tiny.model import PATCH, SIDE, TEXT, Tiny
from vlad.synthetic.textures import TEXTURES

GRID = SIDE // PATCH
SENTENCES = 12  # of each state in a step


@dataclass(frozen=True)
class Recipe:
    """What decides the outcome of a run; `patch` to `sentence` weigh the losses."""

    seed: int = 1
    categories: int = 1600
    pairs: int = 2400
    steps: int = 600
    batch: int = 12
    rate: float = 1e-3
    warm: int = 50
    decay: float = 0.02
    dropout: float = 0.1
    average: float = 0.99
    patch: float = 1.0
    image: float = 0.5
    window: float = 0.5
    name: float = 0.1
    sentence: float = 0.2


def vocabulary(real):
    """Nouns, and every text that a caption may hold."""
    nouns = [n for group in (*TEXTURES.values(), *OBJECT_NOUNS.values()) for n in group]
    nouns += captions.NOUNS
    nouns += sorted({noun for *_, noun in real.clean + real.flawed})
    phrases = captions.NORMAL + captions.ABNORMAL + captions.DETAILS + captions.TEMPLATES
    return nouns, [*nouns, *COLOURS, *(p.replace("{}", " ") for p in phrases)]


@torch.no_grad()
def initialise(model: Tiny) -> None:
    """Random values for all that learns; in the first block a token attends to its like."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.orthogonal_(model.embed.weight, gain=10)  # features have unit length
    nn.init.zeros_(model.embed.bias)
    for transformer, gain in ((model.visual, 0.0), (model.transformer, 1.0)):
        for block in transformer.resblocks:
            width = block.attn.out_proj.in_features
            for weight in (block.attn.in_proj_weight, block.mlp.c_fc.weight):
                nn.init.normal_(weight, std=width**-0.5)
            for out in (block.attn.out_proj, block.mlp.c_proj):
                nn.init.normal_(out.weight, std=gain * 0.5 * out.in_features**-0.5)
            for part in (block.attn.out_proj, block.mlp.c_fc, block.mlp.c_proj):
                nn.init.zeros_(part.bias)
            nn.init.zeros_(block.attn.in_proj_bias)
    attention = model.visual.resblocks[0].attn
    queries, keys, values = attention.in_proj_weight.chunk(3)
    keys.copy_(nn.init.orthogonal_(queries, gain=1.5))
    nn.init.orthogonal_(values)
    nn.init.orthogonal_(attention.out_proj.weight, gain=0.5)
    nn.init.normal_(model.token_embedding.weight, std=0.05)
    nn.init.normal_(model.positional_embedding, std=0.01)
    nn.init.normal_(model.class_embedding, std=0.02)
    for project in (model.proj, model.text_projection):
        nn.init.normal_(project, std=len(project) ** -0.5)


class Learner:
    """Losses of one batch of features, with vlad-tiny's own passes.

    Args:
        model: initialised.
        words: texts whose tokens get embeddings; all others stay zero, so that an unknown word
            says nothing.
    """

    def __init__(self, model: Tiny, words, recipe: Recipe):
        self.model, self.recipe = model, recipe
        tokenizer = Tokenizer(TEXT.context)
        known = sorted({token for text in words for token in tokenizer(text)[0].tolist()} - {0})
        self.known = torch.zeros(TEXT.vocabulary, 1)
        self.known[known] = 1
        with torch.no_grad():
            model.token_embedding.weight.mul_(self.known)
        model.token_embedding.weight.register_hook(lambda gradient: gradient * self.known)
        self.text = text_of(model, tokenizer)
        self.blocks = model.blocks()

    def embed(self, tokens, parts=None):
        """Embeddings of images and patches, or of parts of them as if these were images.

        Args:
            tokens: (B, N, C).
            parts: (B, n, k) patches of each part; None takes the whole image.

        Returns:
            (B·n, D) and (B·n, k, D).
        """
        if parts is not None:
            count = parts.shape[1:]
            places = parts.flatten(1)[..., None].expand(-1, -1, tokens.shape[2])
            tokens = tokens.gather(1, places).unflatten(1, count).flatten(0, 1)
        x = torch.cat([self.model.cls.expand(len(tokens), 1, -1), tokens], dim=1)
        for block in self.blocks:
            x = block(x, None)
        x = self.model.project(self.model.norm(x))
        return x[:, 0], x[:, 1:]

    def loss(self, rng, features, labels, names, nouns):
        """Sum of the weighted losses.

        Args:
            features: (2P, N, F), the first P images damaged by `labels` (2P, N).
            names: 2P captions.
        """
        recipe = self.recipe
        tokens = self.model.with_words(F.dropout(features, recipe.dropout))
        part = area(rng, labels)
        image, patches = self.embed(tokens, part)
        seen = labels if part is None else labels.gather(1, part[:, 0])
        normal, damaged = captions.sides(rng, SENTENCES, nouns)
        told = self.text([*normal, *damaged, *names])
        states = told[: 2 * SENTENCES]
        sides = states.unflatten(0, (2, -1)).mean(1)
        apart = F.normalize(F.normalize(sides, dim=1).diff(dim=0)[0], dim=0).detach()
        said = F.normalize(states, dim=1) @ apart
        state = torch.arange(2 * SENTENCES).ge(SENTENCES).float()
        same = torch.tensor([[float(x == y) for y in names] for x in names])
        total = (
            recipe.patch * losses.balanced(losses.state_logit(patches, sides), seen)
            + recipe.image
            * losses.balanced(losses.state_logit(image, sides), losses.any_label(seen))
            + recipe.sentence * losses.balanced((said - said.mean()) * losses.SCALE, state)
            + recipe.name * losses.names(image, told[2 * SENTENCES :], same)
        )
        for size in (2, 3):
            part = torch.stack(
                [torch.stack([square(rng, row, size, k) for k in (True, False)]) for row in labels]
            )
            windows, _ = self.embed(tokens, part)
            truth = losses.any_label(labels.gather(1, part.flatten(1)).view(part.shape)).flatten()
            total = total + recipe.window * losses.balanced(
                losses.state_logit(windows, sides), truth
            )
        return total


def area(rng, labels):
    """The part of each image that one step sees, (B, 1, k), or None for all of it."""
    if rng.random() < 0.5:
        return None
    size = int(rng.integers(GRID // 2, GRID * 3 // 4 + 1))
    return torch.stack([square(rng, row, size, rng.random() < 0.5) for row in labels])[:, None]


def square(rng, labels, size, aim):
    """(size²) patches of a square, which holds a damaged one if it aims at it."""
    y, x = rng.integers(0, GRID - size + 1, 2)
    damaged = (labels == 1).nonzero()[:, 0]
    if aim and len(damaged):
        centre = int(damaged[rng.integers(len(damaged))])
        reach = rng.integers(0, size, 2)
        y, x = np.clip(np.array(divmod(centre, GRID)) - reach, 0, GRID - size)
    rows, columns = torch.arange(size) + int(y), torch.arange(size) + int(x)
    return (rows[:, None] * GRID + columns).flatten()


def train(model: Tiny, features, nouns, words, recipe: Recipe):
    """Yield the step and the averaged weights after each step."""
    learner, rng = Learner(model, words, recipe), np.random.default_rng(recipe.seed)
    learning = {name: p for name, p in model.named_parameters() if not name.startswith("cnn.")}
    matrices = [
        p for name, p in learning.items() if p.ndim > 1 and name != "token_embedding.weight"
    ]
    rest = [p for p in learning.values() if not any(p is m for m in matrices)]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.decay}, {"params": rest, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )
    mean = {name: p.detach().clone() for name, p in learning.items()}
    for step in range(recipe.steps):
        cosine = 0.55 + 0.45 * np.cos(np.pi * step / recipe.steps)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * cosine * min(1, (step + 1) / recipe.warm)
        chosen = rng.choice(len(features.names), recipe.batch, replace=False)
        tokens = features.tokens[chosen].float().transpose(0, 1).flatten(0, 1)
        labels = features.labels[chosen]
        labels = torch.cat([labels, torch.zeros_like(labels)])
        names = [features.names[i][side] for side in (0, 1) for i in chosen]
        learner.loss(rng, tokens, labels, names, nouns).backward()
        nn.utils.clip_grad_norm_(learning.values(), 5.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        keep = min(recipe.average, (step + 1) / (step + 10))
        for name, p in learning.items():
            mean[name].lerp_(p.detach(), 1 - keep)
        yield step + 1, mean


def export(model: Tiny, mean, file: Path) -> None:
    """Write vlad-tiny in half precision."""
    state = {**model.state_dict(), **mean}
    table = state.pop("token_embedding.weight")
    known = table.any(dim=1).nonzero()[:, 0]
    state = {name: tensor.half().contiguous() for name, tensor in state.items()}
    state |= {TOKENS: known.int(), EMBEDDINGS: table[known].half()}
    save_file(state, file.with_suffix(".part"))
    file.with_suffix(".part").replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--every", type=int, default=100, help="steps between files")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    given = parser.parse_args()
    recipe = Recipe(**{name: getattr(given, name) for name in asdict(Recipe())})
    torch.manual_seed(recipe.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    model = Tiny().to_empty(device="cpu")
    model.cnn.load_state_dict(fold(read_wheel(given.wheel), model.cnn))
    model.cnn.requires_grad_(False)
    initialise(model)
    real = RealImages(given.images)
    pool = Pool(given.out, recipe.categories, recipe.seed)
    pairs = Pairs(pool, real, recipe.seed, recipe.pairs)
    drawn = extract(model, pairs, given.out / f"features-{recipe.seed}-{recipe.pairs}.pt")
    nouns, words = vocabulary(real)
    for step, mean in train(model, drawn, nouns, words, recipe):
        if step % given.every == 0 or step == recipe.steps:
            export(model, mean, given.out / f"vlad-tiny-{step}.safetensors")
            print(step, "of", recipe.steps, "steps", flush=True)
    (given.out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")


if __name__ == "__main__":
    main()
