"""Vision-language models: questions about images, answered in words.

A model is either one of transformers on this machine, or one behind an OpenAI-compatible endpoint
that the user names. What it says never changes the score of a head.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vlad.errors import VlmError
from vlad.vlm.model import VLM, Choice, Reply, Request

__all__ = ["VLM", "Choice", "Reply", "Request", "load_vlm"]


def load_vlm(
    model: str,
    *,
    name: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch: int = 4,
    timeout: float = 120.0,
    per_minute: float | None = None,
    cache: bool = True,
) -> VLM:
    """A vision-language model.

    Args:
        model: a name on the model hub or a folder of transformers; or the address of an
            OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1.
        name: which model of the endpoint.
        device: for transformers, as of torch; "auto" is a GPU if there is one.
        dtype: for transformers, "auto" (as stored), "float32", "bfloat16" or "float16".
        batch: requests that the model is asked at once.
        timeout: seconds that an endpoint may take for one answer.
        per_minute: most requests that an endpoint is sent in a minute.
        cache: keep answers in vlad's cache folder and give them again for the same question.

    Raises:
        VlmError: a model of another kind, one too large for the memory, an endpoint without
            `name`, or an address that cannot be used.
        BackboneError: weights that cannot be downloaded or read.
    """
    from vlad.vlm.cache import Answers

    answers = Answers() if cache else None
    if "://" in model:
        from vlad.vlm.endpoint import Endpoint
        from vlad.vlm.http import host_of

        host = host_of(model)
        if not name:
            raise VlmError(
                f"The endpoint {model} may serve several models; name one of them with `name`."
            )
        made = Endpoint(
            model, name, timeout=timeout, per_minute=per_minute, workers=batch, answers=answers
        )
        if not made.client.is_here:
            how = "" if made.client.address.startswith("https:") else ", without encryption"
            print(f"Images are sent to {host}{how}.", file=sys.stderr)
        return made
    if ":" in model and not Path(model).exists():  # no name on the hub has one
        raise VlmError(
            f"{model} is neither a name nor a folder; begin an address with http:// or https://."
        )
    if name is not None:
        raise VlmError(
            f"{model} is no address of an endpoint, so it has no models to choose from; leave out "
            "`name`, or give an address such as http://127.0.0.1:8000/v1."
        )
    from vlad.vlm.local import load_local

    return load_local(model, device=device, dtype=dtype, batch=batch, answers=answers)
