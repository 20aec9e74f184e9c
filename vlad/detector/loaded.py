"""What a detector loads once and keeps while its settings stand: banks, backbone, panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlad.backbones.backbone import Backbone
from vlad.errors import BackboneError
from vlad.heads import Head
from vlad.images.interest import Interest, RegionOfInterest
from vlad.prompts import PromptBank, load_bank
from vlad.scoring.panel import Panel
from vlad.scoring.setup import Setup


class Loaded:
    """Banks, region of interest, backbone and panel of a detector; a pickle of it holds the first
    two only."""

    def __init__(self) -> None:
        self._banks: dict[str, tuple[str | PromptBank, PromptBank]] = {}  # by argument
        self._region: tuple[tuple[Interest | None, ...], RegionOfInterest | None] | None = None
        self._saved_with: tuple[tuple[str, ...], str] | None = None
        self._backbone: tuple[tuple[str, ...], Backbone] | None = None
        self._panel: tuple[Mapping[str, Any], Panel] | None = None

    def with_files(self, setup: Setup, head: Head) -> Setup:
        """The settings with their banks and region of interest read, each once: none other is
        calibrated or saved."""
        bank = None if head.bank is None else self._read("bank", setup.bank or head.bank)
        guide = setup.guide and self._read("guide", setup.guide)
        ignore = setup.ignore and self._read("ignore", setup.ignore)
        given = setup.roi, setup.roi_ignore
        if self._region is None or self._region[0] != given:
            self._region = given, setup.region
        roi = self._region[1]
        return replace(setup, bank=bank, guide=guide, ignore=ignore, roi=roi, roi_ignore=None)

    def _read(self, argument: str, given: str | PromptBank) -> PromptBank:
        if argument not in self._banks or self._banks[argument][0] != given:
            self._banks[argument] = given, load_bank(given)
        return self._banks[argument][1]

    def backbone(self, setup: Setup, head: Head) -> Backbone:
        """The backbone that the settings name, loaded on first use.

        Raises:
            BackboneError: as `Setup.load_backbone` and `use`.
        """
        if self._backbone is None or self._backbone[0] != _named(setup):
            self.use(setup, setup.load_backbone({head.name: head}))
        assert self._backbone
        return self._backbone[1]

    def use(self, setup: Setup, backbone: Backbone) -> None:
        """Take a backbone as the one that the settings name.

        Raises:
            BackboneError: the detector was saved with other weights of this name.
        """
        name, weights = self._saved_with or (None, None)
        if name == _named(setup) and weights != backbone.weights:
            raise BackboneError(
                f"The weights of {setup.backbone} are not those that this detector was saved with; "
                "name those as `backbone`, or fit and save it again."
            )
        self._backbone = _named(setup), backbone
        self._panel = None

    def expect(self, setup: Setup, weights: str) -> None:
        """Refuse a backbone of the same name with other weights from now on."""
        self._saved_with = _named(setup), weights

    def weights(self, setup: Setup) -> str | None:
        """Hash of the numbers of the backbone that the settings name; None if unknown yet."""
        if self._backbone and self._backbone[0] == _named(setup):
            return self._backbone[1].weights
        name, weights = self._saved_with or (None, None)
        return weights if name == _named(setup) else None

    def panel(self, settings: Mapping[str, Any]) -> Panel | None:
        """The panel made with these settings of the detector, if it is the last one made."""
        made = self._panel
        return made[1] if made and made[0] == settings else None

    def make_panel(self, settings: Mapping[str, Any], setup: Setup, head: Head) -> Panel:
        """Make the panel of a head, and keep it for these settings of the detector."""
        backbone = self.backbone(setup, head)
        head.to(backbone.device)
        made = self.with_files(setup, head).panel(backbone, {head.name: head})
        self._panel = settings, made
        return made

    def drop_panel(self) -> None:
        """Have the next panel made, since its head is another."""
        self._panel = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_backbone": None, "_panel": None}


def _named(setup: Setup) -> tuple[str, ...]:
    return setup.backbone, setup.device, setup.dtype, setup.runtime
