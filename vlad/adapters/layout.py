"""What an adapter of a head holds, and what its authors' files call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vlad.adapters.shapes import Shape
from vlad.types import BackboneInfo


@dataclass(frozen=True)
class Layout:
    """The learned tensors of one head.

    Attributes:
        shapes: (backbone, params) -> our name -> shape.
        sizes: param -> (pattern of our names, axis): the size is the length of that axis, or the
            number of matching names if axis is None.
        authors: pattern of the authors' names -> our name (a re.sub template).
        key: the entry of the authors' file with the tensors; "" is the file itself.
        parts: if several entries hold the tensors, the key of each -> pattern of the authors' names
            in it.
        prefix: of all names in the authors' file, which `authors` and `unused` leave out.
        lead: our name -> number of axes of length 1 that the authors prepend.
        unused: pattern of the authors' tensors not used in scoring -> length of their last axis,
            "text" for T, or None for any.
        layers: default blocks, as fractions of the depth; () takes those that the backbone names
            for comparing patch tokens, or the four quarters.
        inside_text: whether some of the tensors enter the text encoder.
        from_text: whether it is learned from sentences instead of images.
        defaults: the sizes chosen by the method's authors.
        constants: pattern of our names -> the value of all their entries before training.
        image_size: pixels a side at which the authors use a backbone of 336.
    """

    shapes: Callable[[BackboneInfo, Mapping], dict[str, Shape]]
    sizes: Mapping[str, tuple[str, int | None]] = field(default_factory=dict)
    authors: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    lead: Mapping[str, int] | None = None
    unused: Mapping[str, str | None] | None = None
    layers: tuple[float, ...] = ()
    inside_text: bool = False
    from_text: bool = False
    defaults: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)
    image_size: int = 518

    def entries(self) -> tuple[str, ...]:
        """The keys of the authors' file that hold the tensors; () is the file itself."""
        return tuple(self.parts) or ((self.key,) if self.key else ())
