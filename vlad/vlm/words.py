"""What a vision-language model says about an image, beside what a head found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vlad.system.text import shown
from vlad.vlm.model import VLM, Reply, Request
from vlad.vlm.prompts import VlmPrompt

SEVERITIES = ("none", "minor", "moderate", "severe")
SCHEMA = {
    "type": "object",
    "properties": {
        "anomalous": {"type": "boolean"},
        "kind": {"type": "string", "maxLength": 200},
        "where": {"type": "string", "maxLength": 200},
        "severity": {"type": "string", "enum": list(SEVERITIES)},
        "sentence": {"type": "string", "maxLength": 1000},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["anomalous", "kind", "where", "severity", "sentence", "confidence"],
}


@dataclass(frozen=True)
class Words:
    """A model's answer about one image; no score, threshold or verdict of vlad depends on it.

    Attributes:
        model: who says so.
        anomalous: whether the model sees a defect; None without an answer, like `confidence`.
        kind, where: of the defect, in its words.
        severity: one of `SEVERITIES`, or "" without an answer.
        sentence: what it sees.
        confidence: how sure it says it is, from 0 to 1; models are often surer than right.
        error: why there is no answer ("no answer: ..."), or "".
    """

    model: str
    anomalous: bool | None = None
    kind: str = ""
    where: str = ""
    severity: str = ""
    sentence: str = ""
    confidence: float | None = None
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Itself as JSON holds it."""
        return asdict(self)

    def told(self) -> tuple[str, str]:
        """What it sees and how sure it is, and its sentence; ("no answer: ...", "") for none.

        Unprintable characters of the model are escapes.
        """
        if self.anomalous is None:
            return shown(self.error, keep=" "), ""
        seen = f"{self.kind}, {self.where}, {self.severity}" if self.anomalous else "no defect"
        sure = f"it calls itself {100 * (self.confidence or 0):.0f} % sure"
        return f"{shown(seen, keep=' ')}; {sure}.", shown(self.sentence, keep=" ")


def question(
    prompt: VlmPrompt,
    images: Sequence[tuple[Any, str]],
    category: str | None,
    facts: Sequence[str],
) -> Request:
    """The request about one image.

    Args:
        prompt: with the blanks `category`, `images` and `facts`.
        images: (RGB image, what it is), the one to judge first.
        category: what it shows.
        facts: what the head found, a sentence each.

    Raises:
        PromptError: a prompt with other blanks.
    """
    text = prompt.fill(
        category=category or "not given",
        images="\n".join(f"Image {i}: {what}." for i, (_, what) in enumerate(images, start=1)),
        facts="\n".join(f"- {fact}" for fact in facts) or "- nothing",
    )
    return Request(tuple(image for image, _ in images), text)


def words_of(vlm: VLM, reply: Reply) -> Words:
    """An answer to such a request, which was asked for with `SCHEMA`."""
    if reply.data is None:
        return Words(vlm.name, error=reply.error or "no answer: the model wrote nothing")
    return Words(vlm.name, **{key: reply.data[key] for key in SCHEMA["required"]})
