"""The base classes of every head, ours and those of other packages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from vlad.errors import HeadError

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

    from vlad.adapters import Adapter
    from vlad.heads.rules import Rule
    from vlad.maths.logits import Logits
    from vlad.types import BackboneInfo, Features, FeatureSpec, Scores, TextFeatures, TextSpec


class Head(ABC):
    """A few tensors of maths between features and scores.

    A constructor only stores its arguments, each under its own name; all have defaults. Learned
    attributes end in `_`.

    Attributes:
        name: used in options, files and errors; `load_head` sets it.
        bank: name of its default prompt bank; None for a head that reads no text.
        normals: "needed" (`fit` comes before `score`), "optional" or "unused".
        rules: parameter -> the values it accepts (see `vlad.heads.rules`).
        rotations: number of rotated views of each reference image passed to `fit`.
        approximate: whether it skips work that its method requires.
        additive: whether two fits on parts of the images, concatenated, equal one fit on all of
            them (`Detector.partial_fit`).
        transductive: whether it currently scores a list of images jointly, with `pool` instead of
            `score`.
        memory_: what `fit` learned, by name; this is saved.
        adapter_: its learned tensors, available after the first call of `spec`.
    """

    name: str = ""
    bank: str | None = None
    normals: Literal["needed", "optional", "unused"] = "unused"
    rules: ClassVar[Mapping[str, Rule]] = MappingProxyType({})
    rotations: int = 1
    approximate: bool = False
    additive: bool = False
    memory_: Mapping[str, torch.Tensor] = MappingProxyType({})
    adapter_: Adapter | None = None

    @property
    @abstractmethod
    def map_range(self) -> tuple[float, float]:
        """The scale on which files hold its anomaly maps, known once it can score.

        It depends on the fit alone, never on the images scored, and no map is below its start. Maps
        may be above its end: PNG files are cut there, which a run counts. `Scores` never are.
        """

    @property
    def transductive(self) -> bool:
        return False

    @property
    def fitted(self) -> bool:
        """True if it remembers images."""
        return bool(self.memory_)

    def to(self, device: torch.device | str) -> Self:
        """Move what it remembers to a device; return itself."""
        self.memory_ = {name: x.to(device) for name, x in self.memory_.items()}
        return self

    @abstractmethod
    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """What it needs from a backbone."""

    def fit(self, features: Features) -> Self:
        """Learn from images, replacing what it learned before; return itself.

        Raises:
            HeadError: the head does not learn from images.
        """
        raise HeadError(f"Head {self.name} learns nothing from images; call `score` directly.")

    @abstractmethod
    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, each independent of the others."""

    def pool(self) -> Pool:
        """An empty collector of images to score jointly.

        Raises:
            HeadError: the head scores images one by one.
        """
        raise HeadError(f"Head {self.name} scores images one by one; call `score`.")


class Trained(Head):
    """A head with an adapter: tensors learned on auxiliary data (`vlad.adapters`, `vlad.training`).

    Its `spec` sets `adapter_` with `vlad.adapters.load_adapter`.

    Attributes:
        needs_adapter: whether it cannot score without one.
        training: set while its tensors are learned; what is random in learning happens only then.
    """

    adapter_: Adapter
    needs_adapter: bool = True
    training: bool = False

    @abstractmethod
    def logits(self, features: Features, sides: Any) -> Logits:
        """How anomalous B images and their patches are.

        Args:
            sides: from `sides`, for all images or, with a leading axis, for each; None for a head
                without a bank.
        """

    @abstractmethod
    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """(B, L, h·w) logits -> (B, L, H, W) probabilities of each block, for training."""

    def sides(self, text: TextFeatures) -> torch.Tensor:
        """What images are compared with: (2, D) or (B, 2, D) unit vectors of both sides."""
        from vlad.maths.logits import side_vectors

        return side_vectors(text)

    def text_spec(self) -> TextSpec | None:
        """How to embed prompts with the current learned tokens; None without such tokens."""
        return None


class Pool(Protocol):
    """A collector of images that a transductive head scores jointly."""

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        """Add a batch."""

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        """Scores of all added images in order, in batches of any size.

        Args:
            progress: called with the steps done and the total, in any unit.

        Raises:
            HeadError: too few images.
        """
