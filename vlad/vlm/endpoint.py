"""Vision-language models behind an OpenAI-compatible endpoint, as vLLM and Ollama offer."""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from PIL import Image

from vlad.system.text import shown
from vlad.vlm.cache import Answers
from vlad.vlm.http import Client, Refused, Unanswered
from vlad.vlm.model import VLM, Choice, Reply, Request

T = TypeVar("T")
TOP = 20  # log-probabilities of one token that endpoints give at most
FIRST = 8  # tokens that a choice may take
LEAST = 0.1  # of the first token's probability that the choices have together, or it is no answer
CHAT = "chat/completions"


class Endpoint(VLM):
    """A model that a server at `address` offers.

    Args:
        address: up to the version, such as http://127.0.0.1:8000/v1.
        name: which of its models.
        workers: requests under way at once.
    """

    def __init__(
        self,
        address: str,
        name: str,
        *,
        timeout: float = 120.0,
        per_minute: float | None = None,
        workers: int = 4,
        answers: Answers | None = None,
    ) -> None:
        self.name, self.batch, self.kept = name, workers, answers
        self.client = Client(address, timeout, per_minute)
        self.identity = f"{self.client.address} {name}"
        self._without: set[str] = set()  # what this server has refused

    def write(
        self, requests: Sequence[Request], schema: Mapping | None, max_tokens: int
    ) -> list[Reply]:
        extras = {} if schema is None else {"response_format": _format(schema)}

        def one(request: Request) -> Reply:
            start = time.perf_counter()
            try:
                body = self._post(request, max_tokens, extras)
                text, usage = _text(body), body.get("usage")
            except Unanswered as error:
                return Reply("", None, f"no answer: {error}", time.perf_counter() - start)
            seconds = time.perf_counter() - start
            return Reply(text, None, "", seconds, *_tokens(usage))

        return self._at_once(one, requests)

    def weigh(self, requests: Sequence[Request], choices: Sequence[str]) -> list[Choice]:
        """The share of each choice among the first token's probabilities that the server gives.

        There are none if the choices have less than a tenth together: the model then begins with
        other words, such as those of its thoughts, and what is left for a choice is noise.
        """
        extras = {"logprobs": True, "top_logprobs": TOP}

        def one(request: Request) -> Choice:
            start = time.perf_counter()
            try:
                body = self._post(request, FIRST, extras)
                found, text, usage = _weights(body, choices), _text(body), body.get("usage")
            except Unanswered as error:
                return Choice(None, "", f"no answer: {error}", time.perf_counter() - start)
            seconds = time.perf_counter() - start
            return Choice(found, text, "", seconds, *_tokens(usage))

        return self._at_once(one, requests)

    def check(self) -> None:
        with suppress(Unanswered):  # it may be slow to start
            self._post(Request((), "Hello"), 1, {})

    def _at_once(self, one: Callable[[Request], T], requests: Sequence[Request]) -> list[T]:
        with ThreadPoolExecutor(self.batch) as pool:
            return list(pool.map(one, requests))

    def _post(
        self, request: Request, max_tokens: int, extras: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The reply to a request; `extras` are left out if the server refuses them.

        Raises:
            Unanswered: there is no answer to this request.
            VlmError: there will be none to any.
        """
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": _data_url(image)}}
            for image in request.images
        ]
        content.append({"type": "text", "text": request.text})
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": 0,
            "stream": False,
        }
        wanted = {key: value for key, value in extras.items() if key not in self._without}
        try:
            return self.client.post(CHAT, {**body, **wanted})
        except Refused as error:
            if not wanted:
                raise
            found = self._plain(body, error)
            self._without |= set(wanted)
            return found

    def _plain(self, body: Mapping[str, Any], error: Refused) -> Mapping[str, Any]:
        try:
            return self.client.post(CHAT, body)
        except Refused:
            raise error from None


def _format(schema: Mapping) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": _closed(schema), "strict": True},
    }


def _closed(schema: Any) -> Any:
    """A schema whose objects have no further keys, as endpoints want it."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema else closed


def _data_url(image: Image.Image) -> str:
    """The image as PNG, so that the model sees the very pixels that the cache is keyed by."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _first(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Unanswered("the endpoint's reply has no choices")
    return choices[0]


def _text(body: Mapping[str, Any]) -> str:
    """What the model wrote.

    Raises:
        Unanswered: nothing, or a refusal.
    """
    message = _first(body).get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if isinstance(text, str) and text.strip():
        return text.strip()
    refusal = message.get("refusal") if isinstance(message, dict) else None
    if isinstance(refusal, str):
        raise Unanswered(f"the model refused ({shown(refusal)})")
    raise Unanswered("the endpoint's reply has no text")


def _tokens(usage: Any) -> tuple[int, int]:
    given = usage if isinstance(usage, dict) else {}
    read, written = (given.get(key) for key in ("prompt_tokens", "completion_tokens"))
    return read if type(read) is int else 0, written if type(written) is int else 0


def _weights(body: Mapping[str, Any], choices: Sequence[str]) -> tuple[float, ...] | None:
    """The probability of each choice from its first token, with sum 1; None if too few is given."""
    logprobs = _first(body).get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    for token in tokens if isinstance(tokens, list) else ():
        if not isinstance(token, dict) or not str(token.get("token", "")).strip():
            continue  # some models begin an answer with a line end
        found = [0.0] * len(choices)
        top = token.get("top_logprobs")
        for other in top if isinstance(top, list) else ():
            if not isinstance(other, dict):
                continue
            place = _begins(str(other.get("token", "")).strip(), choices)
            log = other.get("logprob")
            if place is not None and isinstance(log, int | float) and log <= 0:
                found[place] += math.exp(log)
        total = sum(found)
        return tuple(p / total for p in found) if total >= LEAST else None
    return None


def _begins(token: str, choices: Sequence[str]) -> int | None:
    """Which of the choices a token is, or begins as the only one; in any case of letters."""
    token = token.casefold()
    folded = [choice.strip().casefold() for choice in choices]
    if token in folded:
        return folded.index(token)
    places = [i for i, choice in enumerate(folded) if token and choice.startswith(token)]
    return places[0] if len(places) == 1 else None
