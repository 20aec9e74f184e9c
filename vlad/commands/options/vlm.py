"""Options for a vision-language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING

import click

from vlad.commands.options.option import option, together
from vlad.errors import InputError

if TYPE_CHECKING:
    from vlad.vlm import VLM


OPTIONS = (
    option(
        "--vlm MODEL|URL",
        "Ask a vision-language model: a name or folder of Hugging Face transformers, or the "
        "address of an OpenAI-compatible endpoint, which images are then sent to. Its key is "
        "read from VLAD_VLM_KEY.",
    ),
    option("--vlm-model NAME", "Which model of the endpoint."),
    option(
        "--vlm-timeout SECONDS",
        "Wait so long for one answer of an endpoint.",
        type=click.FloatRange(min=0, min_open=True),
        default=120.0,
    ),
    option(
        "--vlm-rate N",
        "Send an endpoint at most N requests a minute.",
        type=click.FloatRange(min=0, min_open=True),
    ),
)


@dataclass(frozen=True)
class VlmOptions:
    """What the options say of a vision-language model; see `vlad.vlm.load_vlm`.

    Attributes:
        model: None if no model is wanted.
    """

    model: str | None
    name: str | None
    timeout: float
    rate: float | None

    def open(self, device: str) -> VLM | None:
        """The model, or None if no model is wanted.

        Args:
            device: for a model on this machine.

        Raises:
            InputError: options of an endpoint without one.
            VlmError, BackboneError: as `load_vlm`.
        """
        from vlad.vlm import load_vlm

        is_endpoint = "://" in (self.model or "")
        for given, flag in ((self.name, "--vlm-model"), (self.rate, "--vlm-rate")):
            if given is not None and not is_endpoint:
                raise InputError(
                    f"{flag} is for an endpoint; give its address with --vlm, such as "
                    "http://127.0.0.1:8000/v1, or leave it out."
                )
        if self.model is None:
            return None
        if is_endpoint and self.name is None:
            raise InputError("An endpoint may serve several models; name one with --vlm-model.")
        return load_vlm(
            self.model,
            name=self.name,
            device=device,
            timeout=self.timeout,
            per_minute=self.rate,
        )


def vlm_options(command: Callable) -> Callable:
    """Add --vlm and what belongs to it; the command gets a `VlmOptions` as `vlm`."""

    @wraps(command)
    def packed(vlm, vlm_model, vlm_timeout, vlm_rate, **options):
        return command(vlm=VlmOptions(vlm, vlm_model, vlm_timeout, vlm_rate), **options)

    return together(*OPTIONS)(packed)
