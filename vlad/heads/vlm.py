"""The answer of a vision-language model as a score.

vlad's own. The question is that of AnomalyGPT, arXiv 2308.15366, and Anomaly-OV, arXiv 2502.07601,
in other words and to any model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

from vlad.heads import sorted_names
from vlad.heads.head import Head
from vlad.heads.rules import one_of, optional, whole
from vlad.heads.vlm_normals import Shown
from vlad.heads.vlm_question import (
    KEYWORDS,
    QUESTIONS,
    TEXT,
    WEIGHTS,
    WINDOWS,
    answers,
    check_model,
    loaded,
    prompt_of,
    requests_about,
)
from vlad.maths.maps import upsample
from vlad.maths.overlapping import of_windows
from vlad.types import BackboneInfo, Features, FeatureSpec, Scores, TextFeatures
from vlad.vlm import Request
from vlad.vlm.prompts import VlmPrompt

LONGEST = 1024  # pixels a side of what the model is shown, at most; its processor may take fewer
UNREADABLE = "its pixels are not numbers"


@dataclass(eq=False, repr=False)
class Vlm(Head):
    """A vision-language model is asked whether an image shows a defect; its answer is the score.

    The image score is the probability of Yes against No as the next word, or the confidence that
    the model states, counted from 0 for certainly normal to 1 for certainly anomalous.

    The anomaly map comes from the same question about n × n windows of the image, which overlap by
    half: the mean score of the windows over a place. With `windows` 0 the head marks no place: its
    map is 0 everywhere.

    Args:
        model: name or folder of a model of transformers, or the address of an endpoint
            (`vlad.vlm.load_vlm`).
        model_name: which model of the endpoint.
        answer: "probability" or "confidence", for endpoints that tell no probabilities.
        question: a prompt to such models, by name or TOML file; None is that of the answer.
        noun: what the images show, for the question.
        windows: n, or 0; each image costs 1 + n² questions.
        shown: normal images that the model is shown before the one in question, at most.
        keywords: one or several things that are anomalous; the model is asked whether the image
            shows one of them, each in a question of its own, and the highest score counts.
        weights: of the answers about the key frame of a segment, its position image and its
            temporal image (`vlad.heads.vlm_segments`).
    """

    normals = "optional"
    map_range = (0.0, 1.0)
    # requests, and whom to tell
    _expected: tuple[int, Callable[[str], object]] | None = field(default=None, init=False)
    rules: ClassVar = {
        "model": optional(TEXT),
        "model_name": optional(TEXT),
        "answer": one_of(*QUESTIONS),
        "question": optional(TEXT),
        "noun": TEXT,
        "windows": WINDOWS,
        "shown": whole(1, 8),
        "keywords": optional(KEYWORDS),
        "weights": WEIGHTS,
    }

    model: str | None = None
    model_name: str | None = None
    answer: Literal["probability", "confidence"] = "probability"
    question: str | None = None
    noun: str = "object"
    windows: int = 2
    shown: int = 4
    keywords: str | Sequence[str] | None = None
    weights: Sequence[float] = (1, 1, 1)

    @property
    def places(self) -> bool:
        """True if it asks about windows."""
        return self.windows > 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What its score is, and whose."""
        what = "probability of Yes" if self.answer == "probability" else "stated confidence"
        told = f"that it shows {' or '.join(self.nouns)}, " if self.keywords else ""
        return (f"{what} {told}by {self.model_name or self.model}",)

    @property
    def asked(self) -> str:
        """Hash of its question, wherever that stands."""
        return hashlib.sha256(self.prompt.text.encode()).hexdigest()[:16]

    @property
    def prompt(self) -> VlmPrompt:
        """What it asks (`vlad.heads.vlm_question.prompt_of`)."""
        return prompt_of(self.question, self.answer, bool(self.keywords))

    @property
    def nouns(self) -> list[str]:
        """What it asks about, each in a question of its own."""
        if isinstance(self.keywords, str):
            return [self.keywords]
        return list(self.keywords or [self.noun])

    def expect(self, images: int, tell: Callable[[str], object], each: int = 0) -> None:
        """As of `Head`, after the first answers; `each` are questions about an image, if others."""
        self._expected = (images * len(self.nouns) * (each or 1 + self.windows**2), tell)

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Pixels; nothing of the backbone.

        Raises:
            HeadError, VlmError, PromptError: as `check_model` and `prompt_of` of
                `vlad.heads.vlm_question`.
        """
        check_model(self.model, self.model_name)
        _ = self.prompt  # raises
        return FeatureSpec(image=False, pixels=LONGEST)

    def gather(self) -> Shown:
        """A collector that keeps the first `shown` normal images.

        It asks for the model before it reads more than a batch, and raises what `score` does.
        """
        return Shown(self)

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 1]; NaN, and the reason, where there is no answer.

        Raises:
            VlmError: the model cannot be loaded or reached.
            BackboneError: its weights cannot be downloaded or read.
        """
        device = features.pixels[0].device
        prompt, nouns = self.prompt, self.nouns
        normals = [self.memory_[name] for name in sorted_names(self.memory_, "normal")]
        asked = [
            list(requests_about(prompt, nouns, normals, pixels, self.windows))
            if pixels.isfinite().all()
            else []
            for pixels in features.pixels
        ]
        flat = [request for requests in asked for request in requests]
        replies = iter(self.answers(flat, str(device)) if flat else ())
        found = torch.full((len(asked), len(nouns), 1 + self.windows**2), torch.nan)
        errors = []
        for place, requests in enumerate(asked):
            own = [next(replies) for _ in requests]
            why = next((why for _, why in own if why), "") if own else UNREADABLE
            errors.append(why)
            if not why:
                found[place] = torch.tensor([x for x, _ in own]).view_as(found[place])
        found = found.amax(dim=1)
        if self.windows:
            cells = of_windows(found[:, 1:].unflatten(1, (self.windows, self.windows)))
        else:
            cells = 0 * found[:, :, None]  # NaN where there is no answer
        return Scores(
            found[:, 0].to(device),
            upsample(cells.to(device), features.size),
            errors=tuple(errors) if any(errors) else (),
        )

    def answers(self, requests: Sequence[Request], device: str) -> list[tuple[float, str]]:
        """As `vlad.heads.vlm_question.answers`, by its model; raises what `score` does."""
        assert self.model is not None  # `spec` checks it
        vlm = loaded(self.model, self.model_name, device)
        if self._expected:
            vlm.expect(*self._expected)
            self._expected = None
        return answers(vlm, requests, self.answer)
