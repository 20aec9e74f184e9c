"""Training without images: vectors learned from sentences about categories and from other words.

HFTT's loss and steps; `vlad.heads.hftt` is the head.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch
import torch.nn.functional as F

from vlad.adapters import CARD, Adapter, save_adapter
from vlad.adapters.layouts import tensor_shapes
from vlad.backbones.backbone import Backbone
from vlad.errors import TrainingError
from vlad.heads.hftt import foreign_logit
from vlad.prompts import PromptBank, Prompts, load_bank
from vlad.prompts.categories import check_category, fold
from vlad.scoring.text import warn_of_cut
from vlad.scoring.textcache import embed_prompts
from vlad.system.files import atomic_write
from vlad.system.progress import Progress
from vlad.system.resources import check_regular, data_folder
from vlad.system.text import shown
from vlad.system.torch_state import own_state
from vlad.system.tracking import Tracker
from vlad.training.adapter import card_of
from vlad.training.checkpoint import Log, State
from vlad.training.data import Data
from vlad.training.loop import make_optimiser
from vlad.training.recipe import Recipe

BANK = "winclip"
WORDS = "words.txt"  # beside the banks
SENTENCE = "This is a photo of a {}."
MAX_WORDS, LONGEST = 1_000_000, 100


@dataclass(frozen=True)
class Texts:
    """What to learn from.

    Attributes:
        bank: its normal sentences describe the categories.
        categories: what normal images show.
        words: other things, each put into a sentence.
    """

    bank: PromptBank
    categories: Sequence[str]
    words: Sequence[str]

    @property
    def auxiliary(self) -> str:
        """What the adapter learned from, to state beside its figures."""
        return f"texts about {', '.join(self.categories)}"

    def card(self) -> dict[str, dict]:
        """Its entry in a card."""
        listed = "\n".join(self.words)
        return {
            self.auxiliary: {
                "kind": "texts",
                "bank": self.bank.name,
                "categories": list(self.categories),
                "sentences": sum(len(self.bank.expand(name).normal) for name in self.categories),
                "words": len(self.words),
                "sha256": hashlib.sha256(listed.encode()).hexdigest(),  # of the words, by line
            }
        }


def load_texts(
    categories: Sequence[str], bank: str | None = None, vocabulary: str | Path | None = None
) -> Texts:
    """The sentences and words of a training.

    Args:
        categories: what normal images show.
        bank: name or TOML file of a prompt bank; None is that of winclip.
        vocabulary: text file with one word a line; None is the list that ships with vlad. Words
            that are one of the categories are left out, with a warning.

    Raises:
        PromptError: the bank or a category is invalid.
        TrainingError: no category, or a file that is no list of words.
    """
    if not categories:
        raise TrainingError("No category to learn: name what normal images show with `category`.")
    names = list(dict.fromkeys(check_category(name) for name in categories))
    file = Path(vocabulary) if vocabulary else data_folder("prompts") / WORDS
    words, named = read_words(file), {fold(name) for name in names}
    others = [word for word in words if fold(word) not in named]
    if len(others) < len(words):
        warnings.warn(
            f"{len(words) - len(others)} of {len(words)} words are categories to learn, and were "
            "left out.",
            stacklevel=2,
        )
    if not 0 < len(others) <= MAX_WORDS:
        raise TrainingError(f"{file} has {len(others):,} other words; give 1 to {MAX_WORDS:,}.")
    return Texts(load_bank(bank or BANK), names, others)


def read_words(file: Path) -> list[str]:
    """The words of a text file, one a line, each once.

    Raises:
        TrainingError: it cannot be read, or is something else.
    """
    try:
        check_regular(file)
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
        for number, line in enumerate(lines, 1):
            if len(line) > LONGEST or not line.isprintable():
                raise ValueError(f"line {number} is too long, or has control characters")
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{file} is not a list of words ({shown(str(error))}); write one word a line, in "
            f"UTF-8, of at most {LONGEST} characters."
        ) from error
    return list(dict.fromkeys(line for line in lines if line))


@own_state()
@torch.enable_grad()
def train_from_text(
    recipe: Recipe,
    backbone: Backbone,
    texts: Texts,
    out: Path,
    *,
    licence: str,
    tracker: Tracker | None = None,
) -> Adapter:
    """Train an adapter and write it with its card and `log.csv` to a folder.

    Args:
        recipe: the recipe to follow.
        backbone: one with a text encoder.
        texts: what to learn from.
        out: the folder, prepared by `vlad.training.checkpoint.open_folder`.
        licence: licence to record in the adapter's card.
        tracker: also gets settings and losses.

    Raises:
        AdapterError, HeadError: recipe and backbone do not fit together.
        TrainingError: a loss is not finite.
    """
    info = backbone.info
    params = recipe.params_on(info) | {"tasks": len(texts.categories)}
    shape = tensor_shapes(recipe.head, info, params)["learned"]
    task, sentences, words = (x.to(backbone.device) for x in embedded(backbone, texts))
    random = torch.Generator().manual_seed(recipe.seed)
    learned = torch.nn.Parameter(torch.randn(shape, generator=random).to(backbone.device))
    optimiser = make_optimiser(recipe.optimiser, [learned])
    state, losses, began = State({}), list(recipe.losses), time.monotonic()
    log = Log(out, losses)
    if tracker:
        tracker.settings({"recipe": recipe.table(), "backbone": info.name, "params": params})
    steps = recipe.epochs * math.ceil(len(words) / recipe.batch_size)
    try:
        with Progress(steps, "trained", unit="steps") as progress:
            for epoch in range(1, recipe.epochs + 1):
                order = torch.randperm(len(words), generator=random) if recipe.shuffle else None
                shuffled = words if order is None else words[order.to(words.device)]
                batches = shuffled.split(recipe.batch_size)
                found = fit(
                    learned, task, sentences, batches, recipe.losses, optimiser, info.temperature
                )
                sums: dict[str, float] = {}
                for batch, values in zip(batches, found, strict=True):
                    state.steps += 1
                    seconds = time.monotonic() - began
                    log.write(state.steps, epoch, values, recipe.optimiser.lr, seconds)
                    if tracker:
                        tracker.log({f"train/{n}": x for n, x in values.items()}, state.steps)
                    progress.advance()
                    for name, x in values.items():
                        sums[name] = sums.get(name, 0.0) + x * len(batch) / len(words)
                state.curve.append(sums)
                state.epoch = epoch
    finally:
        log.close()
    tensors = {"task": task, "learned": learned.detach()}
    adapter = Adapter(out.name, recipe.head, info.name, texts.auxiliary, params, tensors)
    card = card_of(adapter, recipe, Data([]), state, licence, str(backbone.dtype), {})
    atomic_write(out / CARD, tomli_w.dumps(card | {"data": texts.card()}).encode())
    save_adapter(adapter, out)
    return adapter


def embedded(backbone: Backbone, texts: Texts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(C, D) vectors of the categories, (S, D) of their sentences, (W, D) of the words; unit rows.

    Raises:
        HeadError: the backbone reads no text.
    """
    each = []
    for name in texts.categories:
        prompts = texts.bank.expand(name)
        warn_of_cut(backbone, texts.bank, prompts)
        each.append(prompts.normal)
    said = tuple(SENTENCE.format(word) for word in texts.words)
    read = Prompts(tuple(sentence for sentences in each for sentence in sentences), said)
    text = embed_prompts(backbone, read, backbone.info.replaced(None))
    rows = F.normalize(text.normal, dim=-1)
    means = torch.stack([part.mean(dim=0) for part in rows.split([len(x) for x in each])])
    return F.normalize(means, dim=-1), rows, F.normalize(text.anomalous, dim=-1)


def fit(
    learned: torch.nn.Parameter,
    task: torch.Tensor,
    sentences: torch.Tensor,
    batches: Iterable[torch.Tensor],
    weights: Mapping[str, float],
    optimiser: torch.optim.Optimizer,
    temperature: float,
) -> Iterator[dict[str, float]]:
    """One step for each batch of words; yields "loss" and the losses in it, not yet weighted.

    Raises:
        TrainingError: a loss is not finite.
    """
    for step, batch in enumerate(batches, 1):
        each = text_losses(learned, task, sentences, batch, temperature)
        losses = {name: each[name] for name in weights}
        total = torch.stack([weights[name] * x for name, x in losses.items()]).sum()
        if not total.isfinite():
            raise TrainingError(
                f"The loss is NaN or infinite in step {step} of an epoch; lower "
                "optimiser.lr in the recipe."
            )
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        yield {"loss": total.item(), **{name: x.item() for name, x in losses.items()}}


def text_losses(
    learned: torch.Tensor,
    task: torch.Tensor,
    sentences: torch.Tensor,
    words: torch.Tensor,
    temperature: float,
) -> dict[str, Any]:
    """Name -> loss: sentences should be near the task vectors, words near the learned ones.

    Words that still look like the task weigh more, in proportion to their probability of it.

    Args:
        learned: (K, D), of any length.
        task, sentences, words: (C, D), (S, D), (W, D), of unit length.
    """
    of_task = foreign_logit(sentences, task, learned, temperature)
    of_words = foreign_logit(words, task, learned, temperature)
    weights = (-of_words).sigmoid().detach()
    # softplus(z) = −ln sigmoid(−z)
    return {
        "text_task": F.softplus(of_task).mean(),
        "text_words": (weights / weights.sum() * F.softplus(-of_words)).sum(),
    }
