"""A prompt bank tuned on labelled images: its candidates, their products with images, its text."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from vlad.backbones.backbone import Backbone
from vlad.errors import ImageError, InputError, PromptError
from vlad.prompts import SIDES, PromptBank, Prompts
from vlad.prompts.tuning import LEAST, Checked, Chosen, Side, States, check, choose
from vlad.prompts.written import bank_text
from vlad.scoring.extractor import Extractor
from vlad.scoring.record import LENGTH, digest_of
from vlad.scoring.setup import Setup
from vlad.scoring.text import warn_of_cut
from vlad.scoring.textcache import embed_prompts
from vlad.system.text import counted, shown
from vlad.types import FeatureSpec, Sample


@dataclass(frozen=True)
class Candidates:
    """The states that a tuned bank may have.

    Attributes:
        bank: the bank to tune.
        name: what sentences call the category.
        templates: those of the bank to tune, around every state.
        normal, anomalous: the states of all banks, each once, those of the bank to tune first.
        original: the states of the bank to tune; one that it has twice counts twice.
        left_out: states of other banks that are on the other side too.
    """

    bank: PromptBank
    name: str
    templates: tuple[str, ...]
    normal: tuple[str, ...]
    anomalous: tuple[str, ...]
    original: Chosen
    left_out: tuple[str, ...] = ()

    @property
    def prompts(self) -> Prompts:
        """The sentences of all states, template by template."""
        both = (
            tuple(
                template.replace("{}", state.replace("{}", self.name))
                for state in getattr(self, side)
                for template in self.templates
            )
            for side in SIDES
        )
        return Prompts(*both)


def candidates(bank: PromptBank, others: Sequence[PromptBank], category: str) -> Candidates:
    """The states of a bank and of others, in the templates of the first.

    Raises:
        PromptError: a bank that does not support the category, or whose templates differ between
            the sides.
    """
    name, wording = bank.wording_of(category)
    if wording.templates["normal"] != wording.templates["anomalous"]:
        raise PromptError(
            f"The prompt bank {bank.name} has other templates on each side, which cannot be tuned; "
            "choose another bank, and take states from this one."
        )
    states = {side: dict.fromkeys(getattr(wording, side)) for side in SIDES}
    left_out = []
    for other in others:
        _, more = other.wording_of(category)
        for side, opposite in zip(SIDES, SIDES[::-1], strict=True):
            for state in getattr(more, side):
                if state in states[opposite]:
                    left_out.append(state)
                else:
                    states[side][state] = None
    listed = {side: tuple(states[side]) for side in SIDES}
    original = Chosen(*(tuple(map(listed[s].index, getattr(wording, s))) for s in SIDES))
    templates = wording.templates["normal"]
    states_of = (listed["normal"], listed["anomalous"])
    return Candidates(bank, name, templates, *states_of, original, tuple(left_out))


@dataclass(frozen=True)
class Tuned:
    """What tuning a bank found.

    Attributes:
        candidates: what was chosen from.
        chosen: the states chosen on all images.
        checked: what choosing gains on images that did not choose.
        counts: label -> number of images used.
        digest: of the images used, in any order.
        errors: path -> why an image was left out.
        copies: images left out because another one has the same content.
    """

    candidates: Candidates
    chosen: Chosen
    checked: Checked
    counts: Counter[int]
    digest: str
    errors: dict[str, str] = field(default_factory=dict)
    copies: int = 0


def tune(
    backbone: Backbone,
    found: Candidates,
    samples: Sequence[Sample],
    setup: Setup,
    seed: int = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> Tuned:
    """Choose states on labelled images; every image and every sentence is embedded once.

    Args:
        found: the states to choose from.
        samples: images with labels.
        setup: how images are read.
        progress: called with the number of images that were just finished.

    Raises:
        InputError: too few images of a label that are readable and no copies of others.
        BackboneError: as `vlad.scoring.extractor.Extractor.check`.
    """
    text = embed_prompts(backbone, found.prompts, backbone.info.replaced(None))
    warn_of_cut(backbone, found.bank, found.prompts)
    images = _Images(backbone, setup, progress)
    for sample in samples:
        images.add(sample)
    x, labels = images.all()
    counts = Counter(labels.tolist())
    check_counts(counts)

    def side(rows: torch.Tensor) -> Side:
        vectors = rows.double().unflatten(0, (-1, len(found.templates))).sum(dim=1).numpy()
        return Side(vectors @ x.T, vectors @ vectors.T)

    states = States(side(text.normal), side(text.anomalous), labels)
    checked = check(states, found.original, seed)
    digest = hashlib.sha256("".join(sorted(images.digests)).encode()).hexdigest()[:LENGTH]
    return Tuned(found, choose(states), checked, counts, digest, images.errors, images.copies)


def count(samples: Sequence[Sample]) -> Counter[int]:
    """Label -> number of images."""
    return Counter(sample.label for sample in samples if sample.label is not None)


def check_counts(counts: Counter[int]) -> None:
    """Raise an InputError if there are too few images of a label."""
    if min(counts[0], counts[1]) < LEAST:
        raise InputError(
            f"{counted(counts[0], 'normal image')} and {counts[1]} with a defect are too few to "
            f"choose states: {LEAST} of each are needed, as the AUROC on half of fewer is off by "
            "10 points or more; label more images, or use the bank as it is."
        )


class _Images:
    """Unit embeddings of images, in batches."""

    def __init__(self, backbone: Backbone, setup: Setup, progress: Callable[[int], object]):
        self.extractor, self.setup = Extractor(backbone, setup.image_size), setup
        self.spec = FeatureSpec()
        self.extractor.check(self.spec)
        self.progress = progress
        self.digests: dict[str, int] = {}  # of each image -> its label
        self.errors: dict[str, str] = {}
        self.copies = 0
        self._waiting: list[dict] = []
        self._done: list[torch.Tensor] = []

    def add(self, sample: Sample) -> None:
        try:
            image = self.setup.open_image(sample.path)
            digest = digest_of(sample.path)
        except ImageError as error:
            self.errors[str(sample.path)] = str(error)
            self.progress(1)
            return
        if digest in self.digests:
            self.copies += 1
            self.progress(1)
            return
        assert sample.label is not None  # counted before
        self.digests[digest] = sample.label
        self._waiting.append(self.extractor.prepare(image, [self.spec]))
        if len(self._waiting) == self.setup.batch_size:
            self._embed()

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """(I, D) float64 and (I,) labels."""
        if self._waiting:
            self._embed()
        x = torch.cat(self._done) if self._done else torch.empty(0, 1)
        return x.double().numpy(), np.array(list(self.digests.values()), int)

    @torch.no_grad()
    def _embed(self) -> None:
        (features,) = self.extractor.extract(self._waiting, [self.spec])
        assert features.image is not None  # the spec asks for it
        self._done.append(F.normalize(features.image, dim=-1).cpu())
        self.progress(len(self._waiting))
        self._waiting.clear()


def tuned_text(tuned: Tuned, banks: Sequence[PromptBank], category: str, origin: str) -> str:
    """The TOML of the tuned bank, with where it comes from.

    Args:
        banks: the bank that was tuned, and the others.
        origin: who made it, from which images, on which backbone and when.
    """
    names = " and ".join(bank.name for bank in banks)
    found, checked = tuned.candidates, tuned.checked
    licences = dict.fromkeys(bank.licence for bank in banks)
    return bank_text(
        f"{names}, tuned on {shown(category)}",
        f"states of {names}, chosen by {origin}; image digest {tuned.digest}. "
        + " ".join(f"{bank.name}: {bank.source}." for bank in banks),
        "; ".join(licences),
        found.templates,
        [found.normal[i] for i in tuned.chosen.normal],
        [found.anomalous[i] for i in tuned.chosen.anomalous],
        description=(
            f"Image AUROC on halves of the images that did not choose: {100 * checked.tuned:.1f}, "
            f"{banks[0].name} {100 * checked.original:.1f}, standard error of the gain "
            f"{100 * checked.noise:.1f} points, {checked.halves} halves."
        ),
        # words other than the category's own stay, so that sentences are those that were tuned
        noun=found.name if found.name != category else "",
    )
