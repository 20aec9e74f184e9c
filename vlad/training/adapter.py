"""From a recipe and data to an adapter with its card."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from accelerate import Accelerator

import vlad
from vlad.adapters import CARD, Adapter, digest_of, save_adapter
from vlad.backbones.backbone import Backbone
from vlad.errors import TrainingError
from vlad.evaluation import Entry, evaluate_category
from vlad.heads import Head, load_head
from vlad.scoring.extractor import Extractor
from vlad.scoring.setup import Setup
from vlad.scoring.text import warn_of_cut
from vlad.system.files import atomic_write
from vlad.system.formats import FORMAT
from vlad.system.text import csv_line, csv_path, csv_text, encode
from vlad.system.torch_state import own_state
from vlad.system.tracking import Tracker
from vlad.training.cache import Cache
from vlad.training.checkpoint import CHECKPOINT, FEATURES, LEFT_OUT, State
from vlad.training.data import PLAIN, Data, Reading
from vlad.training.feed import Feed
from vlad.training.learner import Learner, initial_tensors, is_learned
from vlad.training.loop import Training, clean
from vlad.training.recipe import Recipe

# the best epoch has the highest mean of these, as far as the held-out images allow
JUDGES = ("image_auroc", "pixel_ap")
TRAINED = "trained"


@own_state()
@torch.enable_grad()
def train_adapter(
    recipe: Recipe,
    backbone: Backbone,
    data: Data,
    out: Path,
    *,
    licence: str,
    accelerator: Accelerator,
    image_size: int | None = None,
    accumulate: int = 1,
    recompute: bool = False,
    cache: Path | None = None,
    resume: bool = False,
    reading: Reading = PLAIN,
    words: Mapping[str, str] | None = None,
    tracker: Tracker | None = None,
) -> Adapter:
    """Train an adapter and write it with its card to a folder.

    Args:
        recipe: the recipe to follow.
        backbone: a frozen backbone, on the accelerator's device.
        data: the auxiliary data.
        out: the folder, prepared by `vlad.training.checkpoint.open_folder`.
        licence: licence to record in the adapter's card.
        image_size: overrides the recipe's.
        accumulate: number of parts to run a batch in, one after the other.
        recompute: whether backbones with learned tokens inside trade time for memory.
        cache: folder to keep features in for later trainings; None keeps them in `out` until the
            training ends.
        resume: whether to resume the training in `out`.
        reading: how to read held-out images.
        words: category -> what prompts call it, where that is not its name.
        tracker: also gets settings, losses and held-out figures; None on all but the main process.

    Raises:
        AdapterError, BackboneError, HeadError: recipe and backbone do not fit together.
        TrainingError: as `Training.run`, or the head learns from pairs and the data have none.
        KeyboardInterrupt: stopped, after saving a checkpoint.
    """
    params = recipe.params_on(backbone.info)
    if side := recipe.size_on(backbone.info, image_size):
        params["image_size"] = side
    extractor = Extractor(backbone, side)
    fresh = initial_tensors(recipe.head, extractor, params, recipe.seed)
    # stated where the adapter is used, so that no category seen counts as zero-shot
    params["categories"] = data.categories
    made = Adapter(out.name, recipe.head, backbone.info.name, data.auxiliary, params, fresh)
    learner = Learner(extractor, made, list(recipe.losses), words)
    if learner.head.paired and not data.normals:
        raise TrainingError(
            f"Head {recipe.head} learns from each image beside a normal one, but the data have no "
            "pairs; give `load_data` pairs=True."
        )
    if learner.head.normals == "needed":
        for category in data.held_out:
            if not data.beside.get(category):
                raise TrainingError(
                    f"Head {recipe.head} compares with a normal image, but the training split of "
                    f"{category}, which is held out, has none; add one, or hold out another."
                )
    if accelerator.is_main_process:
        warn_of_parts(learner, recipe, accumulate * accelerator.num_processes)
    if recompute:
        backbone.recompute()
    if learner.bank:
        for category in data.categories:
            spec = learner.spec.text
            learned = spec.length if spec else 0
            prompts = learner.bank.expand(learner.words.get(category, category))
            warn_of_cut(backbone, learner.bank, prompts, learned)
    kept = None
    if learner.cacheable:
        pixels = (reading.bits, recipe.mask_above)
        kept = Cache(cache or out / FEATURES, extractor, learner.spec, pixels)
    feed = Feed(data, extractor, learner.spec, kept, recipe.mosaic, recipe.seed, recipe.mask_above)
    if accelerator.is_main_process and data.left_out:
        left = ([csv_path(path), csv_text(error)] for path, error in data.left_out.items())
        rows = [csv_line(["path", "error"]), *map(csv_line, left)]
        atomic_write(out / LEFT_OUT, b"".join(map(encode, rows)))

    def measure() -> dict[str, float]:
        return figures(learner, data, reading)

    settings = settings_of(recipe, backbone, data, params, learner.words)
    if tracker:
        tracker.settings(settings)
    training = Training(
        recipe,
        learner,
        feed,
        out,
        settings,
        accelerator,
        accumulate,
        measure if data.held_out else None,
        tracker,
    )
    state = training.run(resume)
    tensors = state.best or learner.tensors()
    adapter = Adapter(out.name, recipe.head, backbone.info.name, data.auxiliary, params, tensors)
    if accelerator.is_main_process:
        before = initial_tensors(recipe.head, extractor, params, recipe.seed)
        against = compare(learner, tensors, before, data, reading)
        warn_of_no_gain(against)
        card = card_of(adapter, recipe, data, state, licence, str(backbone.dtype), against)
        if learner.words:
            card["words"] = learner.words
        # tensors last, then remove the checkpoint, so that nothing is ever lost
        atomic_write(out / CARD, tomli_w.dumps(card).encode())
        save_adapter(adapter, out)
        (out / CHECKPOINT).unlink(missing_ok=True)
        clean(out)
    accelerator.wait_for_everyone()
    return adapter


def warn_of_parts(learner: Learner, recipe: Recipe, parts: int) -> None:
    """Say that norms see less than a batch at once, if there are any."""
    if parts > 1 and not all(map(is_learned, learner.names)):
        warnings.warn(
            f"Each step is split into {parts} parts, and the norms of {recipe.head} use the "
            f"statistics of a part instead of those of {recipe.batch_size} images; results differ "
            "from a training in one process without --accumulate.",
            stacklevel=2,
        )


def settings_of(
    recipe: Recipe, backbone: Backbone, data: Data, params: Mapping, words: Mapping[str, str]
) -> dict[str, Any]:
    """The settings that must not change when a training is resumed."""
    return {
        "recipe": recipe.table(),
        "backbone": {
            "name": backbone.info.name,
            "dtype": str(backbone.dtype),
            "weights": backbone.fingerprint,
        },
        "params": dict(params),
        "data": data.card(),
        "hold-out": sorted(data.held_out),
        "words": dict(words),
    }


def figures(learner: Learner, data: Data, reading: Reading) -> dict:
    """The head's current figures on the held-out categories of the data, and a "score".

    The score is the mean over categories of the mean of image AUROC and pixel AP, or of the one
    that can be computed.
    """
    found: dict[str, float] = {}
    scores = []
    head = learner.adapter.head
    for category in data.held_out:
        heads = {head: load_head(head, adapter=_with(learner, learner.adapter.tensors))}
        (known,) = _measured(learner, heads, category, data, reading).values()
        scores.append(np.mean(_judged(known) or [0.0]))
        found |= {f"{category} {name}": x for name, x in known.items()}
    return found | {"score": float(np.mean(scores))}


def compare(
    learner: Learner,
    tensors: Mapping[str, torch.Tensor],
    untrained: Mapping[str, torch.Tensor],
    data: Data,
    reading: Reading,
) -> dict[str, float]:
    """The score of `figures` of what was learned, of the head before it, and of prompts alone.

    Empty where the held-out images are of one kind, so that nothing can be measured.
    """
    scores: dict[str, list[float]] = {}
    for category in data.held_out:
        heads = {
            TRAINED: load_head(learner.adapter.head, adapter=_with(learner, tensors)),
            "untrained": load_head(learner.adapter.head, adapter=_with(learner, untrained)),
        }
        if learner.backbone.info.has_text:
            heads["prompts alone"] = load_head("winclip")
        found = _measured(learner, heads, category, data, reading)
        for name, known in found.items():
            if judged := _judged(known):
                scores.setdefault(name, []).append(float(np.mean(judged)))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def warn_of_no_gain(against: Mapping[str, float]) -> None:
    """Warn if an adapter is no better than the untrained head or prompts alone, or untested."""
    if not against:
        warnings.warn(
            "No held-out image shows whether this adapter learned anything; name a category with "
            "`hold_out`.",
            stacklevel=2,
        )
        return
    said = ", ".join(f"{name} {100 * score:.1f}" for name, score in against.items())
    if against[TRAINED] <= max(score for name, score in against.items() if name != TRAINED):
        warnings.warn(
            f"On held-out images the adapter is no gain ({said}; mean of image AUROC and pixel "
            "AP): do not use it as it is; train with more or other data.",
            stacklevel=2,
        )


def _with(learner: Learner, tensors: Mapping[str, torch.Tensor]) -> Adapter:
    device = learner.backbone.device
    copies = {name: x.detach().to(device, copy=True) for name, x in tensors.items()}
    return replace(learner.adapter, tensors=copies, sha256="")


def _measured(
    learner: Learner,
    heads: Mapping[str, Head],
    category: str,
    data: Data,
    reading: Reading,
) -> dict[str, dict[str, float]]:
    """Name -> the figures of each head on a held-out category, where it has any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a missing class leaves its figures out
        results = evaluate_category(
            learner.backbone,
            [Entry(name, head, int(head.normals == "needed")) for name, head in heads.items()],
            category,
            data.beside.get(category, []),
            data.held_out[category],
            Setup(max_pixels=reading.max_pixels, bits=reading.bits),
            words=learner.words.get(category),
        )
    return {
        result.head: {n: float(x) for n, x in result.metrics.items() if np.isfinite(x)}
        for result in results
    }


def _judged(known: Mapping[str, float]) -> list[float]:
    return [known[name] for name in JUDGES if name in known]


def card_of(
    adapter: Adapter,
    recipe: Recipe,
    data: Data,
    state: State,
    licence: str,
    dtype: str,
    against: Mapping[str, float],
) -> dict[str, Any]:
    """The card of a trained adapter: recipe, data, curve, figures on held-out categories.

    Args:
        against: from `compare`.
    """
    best = state.best_epoch or state.epoch
    reached = state.curve[best - 1] if data.held_out else {}
    of_held_out = {k: v for k, v in reached.items() if " " in k}
    names = dict.fromkeys(name for epoch in state.curve for name in epoch)
    return {
        "format": FORMAT,
        "head": adapter.head,
        "backbone": adapter.backbone,
        "auxiliary": adapter.auxiliary,
        "licence": licence,
        "source": f"trained with vlad {vlad.__version__} by the recipe {recipe.name}",
        "date": datetime.date.today().isoformat(),
        "dtype": dtype.removeprefix("torch."),
        "sha256": digest_of(adapter),
        "figures": [
            f"{name.rpartition(' ')[0]}, held out: {name.rpartition(' ')[2]} {100 * x:.1f}"
            for name, x in of_held_out.items()
        ],
        # mean of image AUROC and pixel AP on held-out categories; "unknown" where none is held out
        "against": {name: float(f"{100 * x:.1f}") for name, x in against.items()} or "unknown",
        "epochs": state.epoch,
        "best_epoch": best,
        "left_out": [f"{path}: {error}" for path, error in data.left_out.items()],
        "params": dict(adapter.params),
        "recipe": {k: v for k, v in recipe.table().items() if v not in (None, {}, ())},
        "data": data.card(),
        "curve": {
            n: [float(f"{epoch[n]:.6g}") for epoch in state.curve if n in epoch] for n in names
        },
    }
