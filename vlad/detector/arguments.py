"""The arguments of a detector, in scikit-learn's manners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from inspect import signature
from typing import TYPE_CHECKING, Any

from vlad.backbones import DEFAULT
from vlad.errors import InputError
from vlad.heads import Head
from vlad.images import DEFAULT_MAX_PIXELS
from vlad.images.interest import Interest
from vlad.prompts import PromptBank
from vlad.scoring.setup import Setup
from vlad.system.text import instead, shown

if TYPE_CHECKING:
    from typing import Self


@dataclass(eq=False, repr=False)
class Arguments:
    """What a detector is asked for: attributes, `get_params` and `set_params` of scikit-learn.

    Args:
        head, category, head_params, ...: see `vlad.detector.Detector`.

    Raises:
        InputError: a number out of range.
    """

    head: str | Head = "memory"
    _: KW_ONLY
    backbone: str = DEFAULT
    category: str | None = None
    bank: str | PromptBank | None = None
    image_size: int | None = None
    device: str = "auto"
    dtype: str = "float32"
    runtime: str = "torch"
    batch_size: int = 8
    max_pixels: int = DEFAULT_MAX_PIXELS
    bits: int = 16
    tile: int | None = None
    overlap: float = 0.25
    cache: str | None = None
    guide: str | PromptBank | None = None
    ignore: str | PromptBank | None = None
    directions: int | None = None
    roi: Interest | None = None
    roi_ignore: Interest | None = None
    head_params: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _ = self.setup  # check ranges at once

    @property
    def setup(self) -> Setup:
        """The settings for reading and scoring among the arguments."""
        return Setup(**{field.name: getattr(self, field.name) for field in fields(Setup)})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The current arguments; `deep` is for scikit-learn and has no effect."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set arguments; return itself.

        Raises:
            InputError: an unknown argument, or a number out of range.
        """
        known = self.get_params()
        for name in params.keys() - known:
            raise InputError(f"A detector has no argument {shown(name)}{instead(name, known)}")
        type(self)(**{**known, **params})  # checks ranges
        vars(self).update(params)
        return self

    def __repr__(self) -> str:
        defaults = signature(type(self)).parameters
        given = {k: v for k, v in self.get_params().items() if v != defaults[k].default}
        return f"Detector({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags  # takes seconds

        return Tags(estimator_type=None, target_tags=TargetTags(required=False))
