"""Features along the directions in which sentences differ, or without these directions.

The transformation of LAFT (Yun et al., ICLR 2025, arXiv 2503.01184), for heads of other methods.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from vlad.backbones.backbone import Backbone
from vlad.errors import HeadError
from vlad.heads import Head
from vlad.maths.guidance import guidance_basis, guided
from vlad.prompts import PromptBank, load_bank
from vlad.scoring.text import warn_of_cut
from vlad.scoring.textcache import embed_prompts
from vlad.types import Features, FeatureSpec, TextFeatures

JOINT = ("ln_post_proj", "proj")  # outputs of patch tokens in the space of text
ALL_GONE = 1e-4  # length below which a projected unit vector is rounding


class Guidance:
    """Projects all features and embeddings in the space of text, for every head alike.

    The sentences name no category, so that normal images can be compared before any is known: a
    bank without a noun or categories of its own is about an "object".

    Args:
        backbone: one with a text encoder.
        guide: prompt bank; only what its normal and anomalous sentences differ in is kept.
        ignore: prompt bank; what its sentences differ in is removed, after `guide`.
        directions: the main directions of each that are used; None is all.

    Raises:
        HeadError: the backbone has no text encoder, or nothing would be left to compare.
        PromptError: an unknown or malformed bank.
    """

    def __init__(
        self,
        backbone: Backbone,
        guide: str | PromptBank | None,
        ignore: str | PromptBank | None,
        directions: int | None,
    ):
        given = {"guide": guide, "ignore": ignore}
        self.banks = {use: load_bank(bank) for use, bank in given.items() if bank is not None}
        if not backbone.info.has_text:
            raise HeadError(
                f"{backbone.info.name} has no text encoder to read `guide` and `ignore`; choose a "
                "CLIP or SigLIP backbone."
            )
        self.bases: dict[str, torch.Tensor] = {}
        self.keys: dict[str, str] = {}
        for use, bank in self.banks.items():
            prompts = bank.expand(bank.noun or next(iter(bank.categories), "object"))
            warn_of_cut(backbone, bank, prompts)
            self.keys[use] = prompts.key[:16]
            text = embed_prompts(backbone, prompts, backbone.info.replaced(None))
            basis = guidance_basis([text.normal, text.anomalous], directions)
            self.bases[use] = basis.to(backbone.device)
        axes = torch.eye(backbone.info.embed_dim, device=backbone.device)
        if self.project(axes).norm(dim=-1).max() < ALL_GONE:
            names = " and ".join(f"{use} {bank.name}" for use, bank in self.banks.items())
            raise HeadError(
                f"With {names}, nothing is left to compare; use fewer `directions`, or other banks."
            )

    def check(self, name: str, head: Head, spec: FeatureSpec) -> None:
        """Raise a HeadError if a head does not compare features in the space of text."""
        if head.adapter_ is not None:
            raise HeadError(
                f"The adapter of head {name} learned from features as they are, so prompts cannot "
                "guide them; leave `guide` and `ignore` out, or choose another head."
            )
        if spec.statistics or not (spec.windows or spec.patch_output in JOINT):
            raise HeadError(
                f"Head {name} compares patch tokens outside the space of text, which prompts "
                "cannot guide; choose winclip, or memory with memory.patch_output=ln_post_proj."
            )

    @property
    def settings(self) -> dict[str, object]:
        """What scores depend on, as in run.json."""
        used = {
            use: {"bank": bank.name, "directions": len(self.bases[use]), "prompts": self.keys[use]}
            for use, bank in self.banks.items()
        }
        return {"guidance": used}

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """(..., D) vectors in the space of text, guided."""
        for use, basis in self.bases.items():
            x = guided(x, basis, use == "ignore")
        return x

    def features(self, features: Features, spec: FeatureSpec) -> Features:
        """The features of a spec; raw patch tokens stay as they are."""
        joint = spec.patch_output in JOINT
        return replace(
            features,
            image=None if features.image is None else self.project(features.image),
            views=None if features.views is None else self.project(features.views),
            windows={k: self.project(x) for k, x in features.windows.items()},
            patches={k: self.project(x) if joint else x for k, x in features.patches.items()},
            cls={k: self.project(x) if joint else x for k, x in features.cls.items()},
            further=tuple(map(self.features, features.further, spec.further)),
        )

    def text(self, text: TextFeatures) -> TextFeatures:
        """The embeddings of both sides of a bank."""
        return TextFeatures(self.project(text.normal), self.project(text.anomalous))
