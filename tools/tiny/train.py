"""Train: ``python -m tiny.train --out DIR [--images DIR ...] [--resume]``."""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tiny import captions, losses
from tiny.constants import PATCH
from tiny.data import SIDE, Pairs, Replay
from tiny.images import COLOURS, Pool, RealImages
from tiny.model import CONFIG, Backbone, export, normalise
from tiny.objects import OBJECT_NOUNS
from tiny.optim import Muon
from vlad.synthetic.textures import TEXTURES

GRID = SIDE // PATCH
WHOLE = 0.4  # share of the steps that see whole images rather than parts


@dataclass(frozen=True)
class Recipe:
    """What decides the outcome of a run; weights of the losses, steps, rates.

    Longer runs fit the drawn defects better and real ones worse, so the run is short, and the
    weights for use are the mean of its running averages at the steps of `blend`.
    """

    seed: int = 1
    steps: int = 400
    blend: tuple[int, ...] = (100, 400)
    categories: int = 2400
    pairs: int = 12
    fresh: int = 2
    capacity: int = 600
    start: int = 120
    rate: float = 0.004
    side_rate: float = 7e-4
    warm: int = 50
    average: float = 0.996
    patch: float = 1.0
    image: float = 0.5
    window: float = 1.0
    name: float = 0.1
    sentence: float = 0.2


def vocabulary(real=None):
    """Every word that a caption may hold."""
    nouns = [n for group in (*TEXTURES.values(), *OBJECT_NOUNS.values()) for n in group]
    nouns += captions.NOUNS
    if real:
        nouns += sorted({noun for *_, noun in real.clean + real.flawed})
    phrases = captions.NORMAL + captions.ABNORMAL + captions.DETAILS + captions.TEMPLATES
    return nouns, [*nouns, *COLOURS, *(p.replace("{}", " ") for p in phrases)]


class Learner(nn.Module):
    """The backbone with the small heads that only training needs."""

    def __init__(self, words, config=CONFIG):
        super().__init__()
        self.backbone = Backbone(words, config)

    def losses(self, batch, rng, nouns):
        """Each loss of one batch, by name."""
        backbone, pairs = self.backbone, len(batch.names) // 2
        pixels = normalise(batch.pixels)
        labels = losses.patch_labels(batch.mask)
        tokens = backbone.tokens(pixels)
        part = area(rng, labels[:pairs], rng.random() < WHOLE)
        part = part.repeat(2, 1)
        image, patches = backbone.vision(tokens, part[:, None])
        seen = labels.gather(1, part)

        normal, abnormal = captions.sides(rng, 12, nouns)
        told = backbone.text(normal + abnormal + batch.names)
        sides = torch.stack([told[:12].mean(0), told[12:24].mean(0)])
        axis = F.normalize(F.normalize(sides, dim=1)[1] - F.normalize(sides, dim=1)[0], dim=0)
        said = F.normalize(told[:24], dim=1) @ axis.detach()
        out = {
            "patch": losses.balanced(losses.state_logit(patches, sides), seen),
            "image": losses.balanced(losses.state_logit(image, sides), losses.any_label(seen)),
            "sentence": losses.balanced((said - said.mean()) * 20, torch.arange(24).ge(12).float()),
        }
        same = [[float(x == y) for y in batch.names] for x in batch.names]
        out["name"] = losses.names(
            image, told[24:], torch.tensor(same), backbone.clip.logit_scale.exp().clamp(max=50)
        )
        window_loss = []
        for size, count in ((2, 2), (3, 2)):
            index = windows(rng, labels, size, count)
            cls, _ = backbone.vision(tokens, index)
            truth = labels.gather(1, index.flatten(1)).view(index.shape)
            truth = losses.any_label(truth).flatten()
            window_loss.append(losses.balanced(losses.state_logit(cls, sides), truth))
        out["window"] = sum(window_loss) / 2
        return out


def teach_states(backbone, nouns, seed, steps=80):
    """Part the two sides of the text encoder first, so that images have something to align to."""
    names = (
        "transformer",
        "token_embedding",
        "text_projection",
        "ln_final",
        "positional_embedding",
    )
    params = [p for n, p in backbone.clip.named_parameters() if n.startswith(names)]
    optimiser = torch.optim.AdamW(params, lr=1e-3, weight_decay=0.0)
    rng = np.random.default_rng([seed, 4])
    for _ in range(steps):
        said = captions.sides(rng, 16, nouns)
        told = F.normalize(backbone.text([*said[0], *said[1]]), dim=1)
        normal, abnormal = (
            F.normalize(told[:16].mean(0), dim=0),
            F.normalize(told[16:].mean(0), dim=0),
        )
        apart = F.relu(normal @ abnormal + 0.3)
        close = 1 - (told[:16] @ normal).mean() + 1 - (told[16:] @ abnormal).mean()
        (apart + 0.3 * close).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return float(apart.detach()), float(close.detach())


def area(rng, labels, whole):
    """Patches that one pass sees: all, a square part, or a random half; (P, k) indices.

    Half the parts are placed so as to hold a damaged patch, if there is one.
    """
    cells = GRID * GRID
    if whole:
        return torch.arange(cells).expand(len(labels), -1)
    if rng.random() < 0.4:
        count = cells * 2 // 5
        drawn = [np.sort(rng.permutation(cells)[:count]) for _ in range(len(labels))]
        return torch.from_numpy(np.stack(drawn))
    size = int(rng.integers(8, 11))
    return torch.stack([_square(rng, row, size, rng.random() < 0.5) for row in labels])


def windows(rng, labels, size, count):
    """``count`` square windows of each image, half of them on damage: (B, count, size²)."""
    drawn = [
        torch.stack([_square(rng, row, size, k < count // 2) for k in range(count)])
        for row in labels
    ]
    return torch.stack(drawn)


def _square(rng, labels, size, aim):
    spots = (labels == 1).nonzero()[:, 0]
    y, x = rng.integers(0, GRID - size + 1, 2)
    if aim and len(spots):
        centre = int(spots[rng.integers(len(spots))])
        reach = rng.integers(0, size, 2)
        y, x = np.clip(np.array(divmod(centre, GRID)) - reach, 0, GRID - size)
    rows, columns = torch.arange(size) + int(y), torch.arange(size) + int(x)
    return (rows[:, None] * GRID + columns).flatten()


class Trainer:
    """The optimisers, the running average of the weights, and the checkpoint."""

    def __init__(self, learner, recipe):
        self.learner, self.recipe, self.step = learner, recipe, 0
        matrices, rest = [], []
        for name, p in learner.named_parameters():
            if not p.requires_grad:
                continue
            block = "resblocks" in name and p.ndim == 2
            (matrices if block else rest).append(p)
        self.optimisers = [
            Muon(matrices, lr=recipe.rate),
            torch.optim.AdamW(rest, lr=recipe.side_rate, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.rates = (recipe.rate, recipe.side_rate)
        self.mean = {k: v.clone() for k, v in learner.backbone.clip.state_dict().items()}
        self.blend = {k: torch.zeros_like(v) for k, v in self.mean.items()}

    def update(self, parts):
        """One optimiser step on the weighted sum of the losses; returns the sum."""
        total = sum(getattr(self.recipe, name) * value for name, value in parts.items())
        total.backward()
        nn.utils.clip_grad_norm_(self.learner.parameters(), 5.0)
        pace = min((self.step + 1) / self.recipe.warm, 1.0)
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * pace
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(self.recipe.average, self.step / (self.step + 10))
        for name, value in self.learner.backbone.clip.state_dict().items():
            self.mean[name].lerp_(value, 1 - keep)
            if self.step in self.recipe.blend:
                self.blend[name] += self.mean[name] / len(self.recipe.blend)
        return total.item()

    def save(self, folder):
        """Write the checkpoint and the weights for use."""
        state = {
            "learner": self.learner.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "mean": self.mean,
            "blend": self.blend,
            "step": self.step,
        }
        torch.save(state, folder / "checkpoint.part")
        (folder / "checkpoint.part").replace(folder / "checkpoint.pt")
        done = self.step >= max(self.recipe.blend)
        export(self.learner.backbone, self.blend if done else self.mean, folder)

    def load(self, folder):
        """Take up a checkpoint."""
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        self.learner.load_state_dict(state["learner"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.mean, self.blend, self.step = state["mean"], state["blend"], state["step"]


def train(
    out,
    recipe,
    images=(),
    cache=None,
    resume=False,
    workers=1,
    every=100,
    until=None,
    config=CONFIG,
):
    """Train and write checkpoints, weights and ``log.jsonl`` under ``out``.

    Args:
        images: folders of real images, see :class:`RealImages`.
        cache: folder for the drawn pool; ``out`` if None.
        every: steps between checkpoints.
        until: stop after this step, to be resumed.

    Returns:
        The :class:`Trainer`, as it stands after the last step.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    real = RealImages(images) if images else None
    pool = Pool(cache or out, recipe.categories, recipe.seed)
    nouns, words = vocabulary(real)
    trainer = Trainer(Learner(words, config), recipe)
    if resume and (out / "checkpoint.pt").exists():
        trainer.load(out)
    else:
        print(
            "apart, close", teach_states(trainer.learner.backbone, nouns, recipe.seed), flush=True
        )
    pairs = Pairs(pool, real, recipe.seed, recipe.start + recipe.fresh * recipe.steps)
    replay = Replay(
        pairs, trainer.step, recipe.capacity, recipe.start, recipe.fresh, recipe.pairs, workers
    )
    began, sums = time.time(), {}
    last = until or recipe.steps
    while trainer.step < last:
        step = trainer.step
        rng = np.random.default_rng([recipe.seed, 3, step])
        parts = trainer.learner.losses(replay.batch(step), rng, nouns)
        trainer.update(parts)
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        if trainer.step % 25 == 0:
            line = {k: round(v / 25, 4) for k, v in sums.items()}
            line |= {"step": trainer.step, "seconds": round(time.time() - began)}
            with open(out / "log.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            sums = {}
        if trainer.step % every == 0 or trainer.step == last:
            trainer.save(out)
    return trainer


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="folder for weights, checkpoint and log")
    parser.add_argument("--images", nargs="*", default=(), help="folders of real images")
    parser.add_argument("--cache", help="folder for the drawn images (default: --out)")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args(argv)
    recipe = Recipe(seed=args.seed)
    train(args.out, recipe, args.images, args.cache, args.resume)


if __name__ == "__main__":
    main()
