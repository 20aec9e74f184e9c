"""The base classes of every head, ours and those of other packages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from vlad.errors import HeadError
from vlad.images.normals import ITSELF, Views

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

    from vlad.adapters import Adapter
    from vlad.heads.rules import Rule
    from vlad.maths.logits import Logits
    from vlad.types import (
        BackboneInfo,
        Features,
        FeatureSpec,
        Parts,
        Reason,
        Scores,
        TextFeatures,
        TextSpec,
    )


class Head(ABC):
    """A few tensors of maths between features and scores.

    A constructor only stores its arguments, each under its own name; all have defaults. Learned
    attributes end in `_`.

    Attributes:
        name: used in options, files and errors; `load_head` sets it.
        bank: name of its default prompt bank; None for a head that reads no text.
        normals: "needed" (`fit` comes before `score`), "optional" or "unused".
        least_normals: normal images that `fit` needs.
        rules: parameter -> the values it accepts (see `vlad.heads.rules`).
        normal_views: the views of each normal image that `fit` gets; heads with equal ones share
            them.
        boxes: whether it uses the boxes that a detector found.
        whole_images: whether it compares places of whole images, which tiles do not have.
        approximate: whether it skips work that its method requires.
        additive: whether `merge` of two fits on parts of the images equals one fit on all of them
            (`Detector.partial_fit`).
        transductive: whether it currently scores a list of images jointly, with `pool` instead of
            `score`.
        memory_: what `fit` learned, by name; this is saved.
        adapter_: its learned tensors, available after the first call of `spec`.
    """

    name: str = ""
    bank: str | None = None
    normals: Literal["needed", "optional", "unused"] = "unused"
    least_normals: int = 1
    rules: ClassVar[Mapping[str, Rule]] = MappingProxyType({})
    normal_views: Views = ITSELF
    boxes: bool = False
    whole_images: bool = False
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
    def known(self) -> Sequence[str]:
        """The kinds of the known defects that it remembers, which `Scores.kind` refers to."""
        return ()

    @property
    def places(self) -> bool:
        """False if its maps mark no place: they are then the start of `map_range` everywhere."""
        return True

    @property
    def notes(self) -> Sequence[str]:
        """What else its protocol says."""
        return ()

    @property
    def asked(self) -> str:
        """Hash of what it asks a model of its own; "" if it asks nothing."""
        return ""

    def expect(self, images: int, tell: Callable[[str], object]) -> None:
        """Prepare for so many images; a head whose answers cost says through `tell` how much."""
        return

    @property
    def fitted(self) -> bool:
        """True if it remembers images."""
        return bool(self.memory_)

    def needed_memory(self) -> Mapping[str, torch.Tensor]:
        """`memory_`, for a head that cannot score without it.

        Raises:
            HeadError: the head is not fitted.
        """
        if not self.fitted:
            name = self.name or type(self).__name__.lower()
            raise HeadError(f"Head {name} compares with normal images: fit it, or give `normal`.")
        return self.memory_

    def to(self, device: torch.device | str) -> Self:
        """Move what it remembers, and its adapter if it has one, to a device; return itself."""
        self.memory_ = {name: x.to(device) for name, x in self.memory_.items()}
        if self.adapter_ is not None:
            self.adapter_ = self.adapter_.to(device)
        return self

    @abstractmethod
    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """What it needs from a backbone."""

    def fit(self, features: Features) -> Self:
        """Learn from images, replacing what it learned before; return itself.

        Raises:
            HeadError: the head does not learn from images, or not from these.
        """
        gather = self.gather()
        if gather is None:
            raise HeadError(f"Head {self.name} learns nothing from images; call `score` directly.")
        gather.add(features)
        gather.finish()
        return self

    def gather(self) -> Gather | None:
        """An empty collector of normal images for this head; None if `fit` sees all at once."""
        return None

    def merge(
        self, first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What a fit on the images of both memories would remember, for an `additive` head."""
        import torch

        return {name: torch.cat([x, second[name]]) for name, x in first.items()}

    @property
    def rows_of_images(self) -> list[str]:
        """Names in `memory_` of rows that it has for each image apart, equally many, in order.

        Images can be taken out of these (`vlad.heads.removal`). They are all that is remembered by
        a head whose `merge` only joins them, and none of any other.
        """
        return list(self.memory_) if self.additive and type(self).merge is Head.merge else []

    @abstractmethod
    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, each independent of the others."""

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """Why each of R regions of one image is anomalous, the strongest reason first.

        Args:
            features: of one image.
            text: as for `score`.
            regions: (R, h·w) bool, the cells of each region, at least one.
        """
        return [()] * len(regions)

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor | None:
        """(h·w,) parts of the score of one image that sum to it; None if it is no such sum.

        Args:
            features: of one image.
            text: as for `score`.
        """
        return None

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor | None:
        """(R,) scores that one image would have if the patches of each region were normal.

        Normal is what its maths take for it, as each docstring says; None if they do not tell.

        Args:
            features, text, regions: as for `reasons`.
        """
        return None

    def pool(self) -> Pool:
        """An empty collector of images to score jointly.

        Raises:
            HeadError: the head scores images one by one.
        """
        raise HeadError(f"Head {self.name} scores images one by one; call `score`.")


class Layered(Head):
    """A head that reads the raw patch tokens of its `layers`."""

    layers: Parts | None

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of its layers."""
        from vlad.types import FeatureSpec

        return FeatureSpec(layers=backbone.compared(self.layers), image=False)


class Batched(Head):
    """A few-shot head that can compare the images scored with one another instead.

    Attributes:
        batched: whether it does; it then takes no normal images and is transductive.
    """

    batched: bool

    @property
    def normals(self) -> Literal["needed", "unused"]:  # type: ignore[override]
        """Unused if it is batched."""
        return "unused" if self.batched else "needed"

    @property
    def transductive(self) -> bool:
        """True if it is batched."""
        return self.batched

    def refuse_normals(self) -> None:
        """Raise a HeadError if it is batched."""
        if self.batched:
            raise HeadError(f"Head {self.name} is batched; call `score` without normal images.")


class Trained(Head):
    """A head with an adapter: tensors learned on auxiliary data (`vlad.adapters`, `vlad.training`).

    Its `spec` sets `adapter_` with `vlad.adapters.load_adapter`.

    Attributes:
        needs_adapter: whether it cannot score without one.
        training: set while its tensors are learned; norms then use the statistics of the batch, and
            what is random in learning happens only then.
        paired: whether it learns from each image beside a normal one of its category
            (`pair_logits`); no learned tensor may then enter the backbone's pass.
        enlarged_logits: whether `layer_maps` enlarges logits instead of probabilities.
    """

    adapter_: Adapter
    needs_adapter: bool = True
    training: bool = False
    paired: bool = False
    enlarged_logits: bool = False

    def __init__(self, adapter: str | Adapter | None = None):
        self.adapter = adapter

    @abstractmethod
    def logits(self, features: Features, sides: Any) -> Logits:
        """How anomalous B images and their patches are.

        Args:
            sides: from `sides`, for all images or, with a leading axis, for each; None for a head
                without a bank.
        """

    def pair_logits(self, features: Features, sides: Any, normals: Features) -> Logits:
        """The logits that a `paired` head learns from.

        Args:
            sides: as for `logits`.
            normals: a normal image of the same category for each image.

        Raises:
            HeadError: the head is not `paired`.
        """
        raise HeadError(f"Head {self.name} does not learn from pairs; call `logits` instead.")

    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """(B, L, h·w) logits -> (B, L, H, W) probabilities of each block, for training."""
        from vlad.maths.maps import enlarge

        if self.enlarged_logits:
            return enlarge(patches, grid, size, align_corners=True).sigmoid()
        return enlarge(patches.sigmoid(), grid, size)

    def sides(self, text: TextFeatures) -> torch.Tensor:
        """What images are compared with: (2, D) or (B, 2, D) unit vectors of both sides."""
        from vlad.maths.logits import side_vectors

        return side_vectors(text)

    def text_spec(self) -> TextSpec | None:
        """How to embed prompts with the current learned tokens; None without such tokens."""
        return None


class Gather(Protocol):
    """A collector of normal images that a head sees batch by batch, in bounded memory."""

    def add(self, features: Features) -> None:
        """Add a batch; if the head wants several views of each image, they come in order."""

    def finish(self) -> None:
        """Have the head learn from all added images.

        Raises:
            HeadError: too few images, or images that it cannot learn from.
        """


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
