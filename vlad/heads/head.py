"""What every head is: the base class of ours, and what heads of other packages inherit from."""

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

    Constructors only store their arguments, each under its own name, and all of them have
    defaults. What is learned ends in `_`.

    Attributes:
        name: as options, files and errors have it; `load_head` sets it.
        bank: name of its default prompt bank; None for a head that reads no text.
        normals: "needed" (`fit` comes before `score`), "optional" or "unused".
        rules: parameter -> what its values may be (see `vlad.heads.rules`).
        rotations: how many rotated views of each reference image `fit` is given.
        approximate: whether it leaves out work that its method asks for.
        additive: whether fitting on some images and then on others, put together, is fitting on
            all (`Detector.partial_fit`).
        transductive: whether it judges a list of images jointly, as it is now; `pool` then takes
            the place of `score`.
        memory_: what `fit` learned, by name; this is what is saved.
        adapter_: the learned tensors it was given, once `spec` was asked for.
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
        """Lowest and highest value of its anomaly maps, known once it can score."""

    @property
    def transductive(self) -> bool:
        return False

    @property
    def fitted(self) -> bool:
        """Whether it remembers images."""
        return bool(self.memory_)

    def to(self, device: torch.device | str) -> Self:
        """Takes what it remembers to a device; returns itself."""
        self.memory_ = {name: x.to(device) for name, x in self.memory_.items()}
        return self

    @abstractmethod
    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """What it needs of a backbone."""

    def fit(self, features: Features) -> Self:
        """Learns from images, in place of what it learned before; returns itself.

        Raises:
            HeadError: it learns nothing from images.
        """
        raise HeadError(f"Head {self.name} learns nothing from images; score with it at once.")

    @abstractmethod
    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, each independent of the others."""

    def pool(self) -> Pool:
        """An empty collector of images that are judged jointly.

        Raises:
            HeadError: it judges images one by one.
        """
        raise HeadError(f"Head {self.name} judges images one by one; call its `score`.")


class Trained(Head):
    """A head with an adapter: tensors learned on auxiliary data (`vlad.adapters`, `vlad.training`).

    Its `spec` sets `adapter_` by `vlad.adapters.load_adapter`.
    """

    adapter_: Adapter

    @abstractmethod
    def logits(self, features: Features, sides: Any) -> Logits:
        """How anomalous B images and their patches are.

        Args:
            sides: (2, D) or (B, 2, D) unit vectors of the normal and the anomalous words; None for
                a head without a bank.
        """

    @abstractmethod
    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """(B, L, h·w) logits -> (B, L, H, W) probabilities of each block, which training sees."""

    def text_spec(self) -> TextSpec | None:
        """How prompts are read, with learned tokens as they are now; None without such tokens."""
        return None


class Pool(Protocol):
    """Collects the images that a transductive head judges jointly."""

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        """Takes in a batch."""

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        """Scores of all that was added, in that order, in batches of any size.

        Args:
            progress: called with the steps done and the steps in all, in any unit.

        Raises:
            HeadError: too few images.
        """
