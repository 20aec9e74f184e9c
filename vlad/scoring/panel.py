"""Several heads on one backbone: fit them on normal images, score batches in one pass."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import chain, compress

import torch
from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.backbones.capabilities import check_spec
from vlad.errors import HeadError
from vlad.heads import Gather, Head, Pool, check_head
from vlad.images.interest import RegionOfInterest
from vlad.images.normals import Views
from vlad.images.tiles import WHOLE, Tiling
from vlad.prompts import PromptBank, Prompts, load_bank
from vlad.scoring.extractor import Extractor, check_runtime
from vlad.scoring.featurecache import CachedExtractor
from vlad.scoring.guidance import Guidance
from vlad.scoring.inside import Inside
from vlad.scoring.seen import embeddings
from vlad.scoring.text import encode, encode_each, warn_of_cut
from vlad.scoring.textcache import embed_prompts
from vlad.scoring.together import Together
from vlad.system.clock import Clock
from vlad.system.text import shown
from vlad.system.torch_state import own_state
from vlad.types import (
    BackboneInfo,
    Box,
    Features,
    FeatureSpec,
    Scores,
    TextFeatures,
    TextSpec,
)


def fitting_specs(
    heads: Mapping[str, Head], backbone: BackboneInfo, image_size: int | None
) -> dict[str, FeatureSpec]:
    """What each head needs, checked against a backbone of which no weights need be there yet.

    Args:
        heads: name -> head.
        image_size: pixels a side of the backbone's input; None is the backbone's own.

    Raises:
        HeadError: a head that reads text with a backbone that does not, or whose parameters are
            outside their rules.
        BackboneError: as `vlad.backbones.capabilities.check_spec`.
    """
    specs = {}
    for name, head in heads.items():
        check_head(head)
        if head.bank and not backbone.has_text:
            raise HeadError(
                f"Head {name} compares images with text, but {backbone.name} has no text encoder; "
                "choose a CLIP or SigLIP backbone, or a head such as memory."
            )
        specs[name] = head.spec(backbone)
        if (adapter := head.adapter_) and adapter.backbone != backbone.name:
            warnings.warn(
                f"Head {name}: the adapter {adapter.name} was trained on {adapter.backbone}, and "
                f"this backbone is {backbone.name}; its scores mean something only if both have "
                "the same weights.",
                stacklevel=2,
            )
        side = image_size or specs[name].image_size or backbone.image_size
        check_spec(backbone, specs[name], side, name)
    return specs


class Panel:
    """Heads that score the same images from shared features.

    Args:
        backbone: the frozen backbone.
        heads: name -> head.
        bank: prompt bank (name, TOML file or the bank) for every head that reads text; None is each
            head's own.
        image_size: pixels a side of the backbone's input; None is the backbone's own.
        batch_size: images in one pass while fitting.
        tiling: how `fit` cuts images, and how images to score should be cut.
        cache: folder in which features are stored for later; None stores none.
        guide, ignore, directions: as in `vlad.scoring.guidance.Guidance`; None leaves features as
            they are.
        region: the region of interest, outside which nothing counts; None is the whole image.

    Raises:
        HeadError: a head that reads text with a backbone that does not, whose parameters are
            outside their rules, whose features cannot be guided, that needs images without
            tiles, or that names kinds of defects with a region of interest.
        BackboneError: a layer the backbone does not have, a size that patches do not fill, or maps
            of a convolutional network in another runtime.
        PromptError: an unknown or malformed bank.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[str, Head],
        *,
        bank: str | PromptBank | None = None,
        image_size: int | None = None,
        batch_size: int = 8,
        tiling: Tiling = WHOLE,
        cache: str | None = None,
        guide: str | PromptBank | None = None,
        ignore: str | PromptBank | None = None,
        directions: int | None = None,
        region: RegionOfInterest | None = None,
    ):
        self.backbone = backbone
        self.heads = dict(heads)
        self.inside = Inside(region, self.heads)
        self.tiling = tiling
        self.batch_size = batch_size
        self.extractor = (
            CachedExtractor(backbone, image_size, cache)
            if cache
            else Extractor(backbone, image_size)
        )
        self.specs = fitting_specs(self.heads, backbone.info, image_size)
        for name, head in self.heads.items():
            check_runtime(backbone, self.specs[name], name)
            if head.adapter_ is not None:  # else each batch would move its tensors
                head.adapter_ = head.adapter_.to(backbone.device)
            if tiling.tile is not None and getattr(head, "whole_images", False):
                raise HeadError(
                    f"Head {name} compares places of whole images, and a tile has another one in "
                    "each; leave out `tile`, or the option that compares places."
                )
        reading = {name: own for name, head in self.heads.items() if (own := head.bank)}
        self.banks = {name: load_bank(bank or own) for name, own in reading.items()}
        self.guidance = None
        if guide is not None or ignore is not None:
            self.guidance = Guidance(backbone, guide, ignore, directions)
            for name, head in self.heads.items():
                self.guidance.check(name, head, self.specs[name])
        self.text = functools.cache(self._text)
        self.listener: Callable[[Features, TextFeatures | None], object] | None = None
        # the time spent scoring, of each head and of "backbone"
        self.clock = Clock(torch.device(backbone.device))

    def only(self, names: Iterable[str]) -> Panel:
        """The same panel with some of its heads."""
        other = copy(self)
        other.heads = {name: self.heads[name] for name in names}
        return other

    def heard_by(self, listener: Callable[[Features, TextFeatures | None], object]) -> Panel:
        """The same panel; the listener gets what each head scores, batch by batch."""
        other = copy(self)
        other.listener = listener
        return other

    @property
    def transductive(self) -> list[str]:
        """The heads that judge a list of images jointly."""
        return [name for name, head in self.heads.items() if head.transductive]

    @own_state()
    @torch.no_grad()
    def fit(self, images: Iterable[Image.Image], heads: Iterable[str] | None = None) -> Panel:
        """Fit the named heads on images, cut into tiles; None is all heads that use images.

        Raises:
            HeadError: a head that learns nothing from images.
        """
        if heads is None:
            heads = [name for name, head in self.heads.items() if head.normals != "unused"]
        gathers: dict[str, Gather] = {}
        for name in heads:
            head = self.heads[name]
            gather = head.gather()
            # raised before a pass over all images
            if gather is None and type(head).fit is Head.fit:
                raise HeadError(f"Head {name} learns nothing from images; score with it at once.")
            gathers[name] = gather or Together(head)
            self.specs[name] = self.specs[name].with_normals()
        # heads that want the same views share their passes
        groups: dict[Views, list[str]] = {}
        for name in gathers:
            groups.setdefault(self.heads[name].normal_views, []).append(name)
        waiting: dict[Views, list[Image.Image]] = {views: [] for views in groups}

        def extract(views: Views) -> None:
            specs = [self.specs[name] for name in groups[views]]
            prepared = [self.extractor.prepare(view, specs) for view in waiting[views]]
            waiting[views].clear()
            if prepared:
                features = self.extractor.extract(prepared, specs)
                for name, found in zip(groups[views], features, strict=True):
                    gathers[name].add(self._guided(name, found))

        for image in chain.from_iterable(map(self.tiling.cut, images)):
            for views, batch in waiting.items():
                for view in views(image):
                    batch.append(view)
                    if len(batch) == self.batch_size:
                        extract(views)
        for views in groups:
            extract(views)
        for gather in gathers.values():
            gather.finish()
        return self

    def prepare(self, image: Image.Image) -> dict:
        """The pixels of one RGB image as `score` takes them; safe in several threads."""
        return self.extractor.prepare(image, [self.specs[name] for name in self.heads])

    @own_state()
    @torch.no_grad()
    def score(
        self,
        prepared: Sequence[dict],
        category: str | None = None,
        pools: MutableMapping[str, Pool] | None = None,
        boxes: Sequence[tuple[Box, ...]] = (),
        looks: list[torch.Tensor] | None = None,
    ) -> dict[str, Scores]:
        """Score B prepared images with every head that judges them one by one.

        Args:
            pools: head -> what it has collected; transductive heads add the batch to theirs, and
                are missing from the result.
            boxes: what a detector found in each image; a head with a bank of faults is given those
                whose phrase holds one of them.
            looks: gets the embeddings of the images (`vlad.scoring.seen.embeddings`), if known.

        Raises:
            HeadError: a head that reads text without a category, one that was not fitted, or a
                transductive one without `pools`.
        """
        with self.clock.part("backbone"):
            found = self.extractor.extract(prepared, [self.specs[name] for name in self.heads])
        if looks is not None:
            embedded = embeddings(self.specs, self.heads, found, len(prepared))
            looks += [] if embedded is None else [embedded]
        scores: dict[str, Scores] = {}
        for (name, head), features in zip(self.heads.items(), found, strict=True):
            with self.clock.part(name):
                if boxes and head.boxes:
                    features = replace(features, boxes=self._faulty(name, category, boxes))
                self._score(name, head, self._guided(name, features), category, scores, pools)
        return scores

    @own_state()
    @torch.no_grad()
    def inputs(
        self,
        name: str,
        prepared: dict,
        category: str | None = None,
        boxes: tuple[Box, ...] = (),
    ) -> tuple[Features, TextFeatures | None]:
        """What a head scores one prepared image by.

        Args:
            name: of the head.
            boxes: as for `score`, of this image.

        Raises:
            HeadError: a head that reads text without a category.
        """
        (features,) = self.extractor.extract([prepared], [self.specs[name]])
        if boxes and self.heads[name].boxes:
            features = replace(features, boxes=self._faulty(name, category, [boxes]))
        features = self._guided(name, features)
        return features, self._read(name, category, features)

    def prompts(self, name: str, category: str | None) -> Prompts | None:
        """The sentences that a head reads about a category; None of a head that reads none.

        Raises:
            HeadError: a head that reads text without a category.
        """
        return self._prompts(name, category) if name in self.banks else None

    def faults(self, category: str | None) -> list[str]:
        """What a detector should look for: the faults that the heads which use boxes know of.

        Raises:
            HeadError: none, or heads without a category.
        """
        using = [name for name, head in self.heads.items() if head.boxes and name in self.banks]
        found = dict.fromkeys(x for name in using for x in self._prompts(name, category).faults)
        if not found:
            raise HeadError(
                f"No prompt bank here lists faults of {category} to look for; use one that does, "
                "such as filo, or give boxes as a file."
            )
        return list(found)

    def _guided(self, name: str, features: Features) -> Features:
        return self.guidance.features(features, self.specs[name]) if self.guidance else features

    def _faulty(
        self, name: str, category: str | None, boxes: Sequence[tuple[Box, ...]]
    ) -> tuple[tuple[Box, ...], ...]:
        """Of the boxes of each image those that the head's bank, if it lists faults, calls one."""
        if not (faults := self._prompts(name, category).faults):
            return tuple(boxes)
        kept = []
        for found in boxes:
            named = [any(fault in box.phrase for fault in faults) for box in found]
            kept.append(tuple(compress(found, named)))
            for phrase in sorted({x.phrase for x in found} - {x.phrase for x in kept[-1]}):
                warnings.warn(  # which Python repeats once for each text
                    f"Head {name} leaves boxes with the phrase {shown(repr(phrase))} out: it names "
                    f"no fault that the prompt bank {self.banks[name].name} lists of {category}.",
                    stacklevel=2,
                )
        return tuple(kept)

    def _score(
        self,
        name: str,
        head: Head,
        features: Features,
        category: str | None,
        scores: dict[str, Scores],
        pools: MutableMapping[str, Pool] | None,
    ) -> None:
        """Put a head's scores into `scores`, or the features into its pool."""
        text = self._read(name, category, features)
        if self.listener:
            self.listener(features, text)
        if not head.transductive:
            scores[name] = head.score(features, text)
        elif pools is None:
            raise HeadError(f"Head {name} judges a list of images jointly; give it a list.")
        else:
            if name not in pools:
                pools[name] = head.pool()
            pools[name].add(features, text)

    @torch.no_grad()
    def _text(self, name: str, category: str | None) -> TextFeatures | None:
        """What a head reads about a category; None if nothing, or if each image has its own."""
        if name not in self.banks:
            return None
        prompts = self._prompts(name, category)
        spec = self.specs[name].text or TextSpec()
        warn_of_cut(self.backbone, self.banks[name], prompts, spec.length)
        if spec.for_each_image:
            return None
        if spec.context or spec.deep:
            assert not callable(spec.deep)
            return encode(self.backbone, prompts, spec, spec.deep)
        activation = self.backbone.info.replaced(spec.activation)
        text = embed_prompts(self.backbone, prompts, activation).to(self.backbone.device)
        return self.guidance.text(text) if self.guidance else text

    def _prompts(self, name: str, category: str | None) -> Prompts:
        bank = self.banks[name]
        # a bank with a noun of its own says the same about every category
        category = category or bank.noun or None
        if category is None:
            raise HeadError(f"Head {name} needs to know what the images show: give a `category`.")
        return bank.expand(category)

    def _read(self, name: str, category: str | None, features: Features) -> TextFeatures | None:
        text, spec = self.text(name, category), self.specs[name].text
        if text is not None or name not in self.banks:
            return text
        assert spec is not None  # each image has words of its own, made from its embedding
        return encode_each(self.backbone, self._prompts(name, category), spec, features)
