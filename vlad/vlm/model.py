"""What every vision-language model offers: answers in words, and choices with probabilities."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from vlad.errors import VlmError
from vlad.vlm.cost import Cost
from vlad.vlm.schema import parse

if TYPE_CHECKING:
    from vlad.vlm.cache import Answers

MAX_TOKENS = 256
AGAIN = "\n\nYour last answer could not be read: {}. Answer with one JSON object and nothing else."


@dataclass(frozen=True)
class Request:
    """A question.

    Attributes:
        images: RGB images, which stand before the text.
        text: the question.
    """

    images: tuple[Image.Image, ...]
    text: str


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        text: what the model wrote.
        data: the answer as checked against the schema; None without a schema or without an answer.
        error: why there is no answer ("no answer: ..."), or "".
        seconds: how long the model took; within a batch, an equal share.
        tokens_in, tokens_out: tokens read and written, 0 where an endpoint does not say. Like
            `seconds`, they are 0 for an answer that was kept.
    """

    text: str
    data: Mapping[str, Any] | None = None
    error: str = ""
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Choice:
    """How likely a model finds each of several answers.

    Attributes:
        probabilities: one for each choice, with sum 1; None if the model gives none.
        text: the answer that the model wrote, or the likeliest choice.
        error: why there is no answer, or "".
        seconds, tokens_in, tokens_out: as of a `Reply`.
    """

    probabilities: tuple[float, ...] | None
    text: str
    error: str = ""
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0


T = TypeVar("T", Reply, Choice)


class VLM(ABC):
    """A vision-language model.

    Attributes:
        name: the model, as the user named it.
        identity: what its answers depend on besides the question, for the cache and settings.
        batch: requests that `answers` and `weigh` are given at once.
    """

    name: str
    identity: str
    batch: int
    kept: Answers | None = None
    cost: Cost | None = None

    @abstractmethod
    def write(
        self, requests: Sequence[Request], schema: Mapping | None, max_tokens: int
    ) -> list[Reply]:
        """What the model writes, unchecked; at most `batch` requests."""

    @abstractmethod
    def weigh(self, requests: Sequence[Request], choices: Sequence[str]) -> list[Choice]:
        """As `choose`, of at most `batch` requests."""

    def check(self) -> None:
        """Check that the model can be asked, before many images are read.

        Raises:
            VlmError: as `ask`.
        """
        return  # one that is loaded can

    def expect(self, requests: int, tell: Callable[[str], object]) -> None:
        """Say through `tell`, after a first batch, what the rest of so many requests will cost."""
        self.cost = Cost(requests, tell)

    def ask(
        self,
        requests: Sequence[Request],
        schema: Mapping | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> list[Reply]:
        """Answers in the order of the requests.

        The model decodes greedily. With a schema, an answer that does not keep to it is asked for
        once more; if that fails too, `data` is None and `error` says why.

        Args:
            schema: a JSON schema, as `vlad.vlm.schema.check` reads it.
            max_tokens: of one answer.

        Raises:
            VlmError: the model cannot be reached, or refuses every request.
        """

        def some(part: Sequence[Request]) -> list[Reply]:
            return self._checked(part, schema, max_tokens)

        return self._each(requests, some, Reply, ("ask", schema, max_tokens))

    def choose(self, requests: Sequence[Request], choices: Sequence[str]) -> list[Choice]:
        """The probability of each of several answers, of each request.

        Raises:
            VlmError: as `ask`; fewer than two choices, or two that are the same.
        """
        if len(choices) < 2 or len(set(choices)) < len(choices) or not all(map(str.strip, choices)):
            raise VlmError(
                f"{list(choices)} leave nothing to choose between; give two or more different ones."
            )

        def some(part: Sequence[Request]) -> list[Choice]:
            return self.weigh(part, choices)

        return self._each(requests, some, Choice, ("choose", list(choices)))

    def _each(
        self,
        requests: Sequence[Request],
        some: Callable[[Sequence[Request]], list[T]],
        kind: Callable[..., T],
        how: tuple,
    ) -> list[T]:
        """Answers from the cache, and the others in batches."""
        found: list[T | None] = [None] * len(requests)
        keys = [""] * len(requests)
        if self.kept is not None:
            keys = [self.kept.key(self.identity, request, how) for request in requests]
            found = [self.kept.get(key, kind) for key in keys]
        missing = [i for i, reply in enumerate(found) if reply is None]
        if self.cost is not None:
            self.cost.count([reply for reply in found if reply is not None])
        for start in range(0, len(missing), self.batch):
            places = missing[start : start + self.batch]
            began = time.perf_counter()
            replies = some([requests[i] for i in places])
            if self.cost is not None:
                self.cost.count(replies, time.perf_counter() - began)
            for i, reply in zip(places, replies, strict=True):
                found[i] = reply
                if self.kept is not None:
                    self.kept.put(keys[i], reply)
        return [reply for reply in found if reply is not None]

    def _checked(
        self, requests: Sequence[Request], schema: Mapping | None, max_tokens: int
    ) -> list[Reply]:
        replies = self.write(requests, schema, max_tokens)
        if schema is None:
            return replies
        checked = [_read(reply, schema) for reply in replies]
        again = [i for i, reply in enumerate(checked) if reply.data is None and reply.text]
        asked = [
            replace(requests[i], text=requests[i].text + AGAIN.format(checked[i].error))
            for i in again
        ]
        second = self.write(asked, schema, max_tokens) if asked else []
        for i, reply in zip(again, second, strict=True):
            checked[i] = _total(_read(reply, schema), checked[i])
        return [
            replace(reply, error=f"no answer: {reply.error.removeprefix('no answer: ')}")
            if reply.error
            else reply
            for reply in checked
        ]


def _read(reply: Reply, schema: Mapping) -> Reply:
    if reply.error:
        return reply
    data, error = parse(reply.text, schema)
    return replace(reply, data=data, error=error)


def _total(reply: Reply, before: Reply) -> Reply:
    """A second answer with the time and tokens of both."""
    return replace(
        reply,
        seconds=reply.seconds + before.seconds,
        tokens_in=reply.tokens_in + before.tokens_in,
        tokens_out=reply.tokens_out + before.tokens_out,
    )
