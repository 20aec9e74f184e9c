"""A detector saved to a folder, replaced there, and loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlad.calibration import Calibration
from vlad.detector.endpoints import check_endpoint
from vlad.detector.files import SETTINGS
from vlad.detector.learned import CALIBRATE, FIT, Learned
from vlad.detector.replacing import complete, replace_files
from vlad.detector.saved import Saved, read_detector, write_detector
from vlad.errors import HeadError, InputError, OutputError
from vlad.scoring.record import digest_of

if TYPE_CHECKING:
    from typing import Self


class Stored(Learned):
    """What a detector has learned, as a folder.

    Attributes:
        calibration_: see `vlad.detector.Detector`.
    """

    calibration_: Calibration
    _calibrate_with: dict[str, Any]
    # the folder that it was loaded from, and the digest of its detector.json then
    _loaded_from: tuple[Path | None, str] = (None, "")

    def save(self, folder: str | os.PathLike[str], *, with_weights: bool = False) -> Path:
        """Write detector.json, calibration, adapter and what was learned as data, never pickles.

        Args:
            with_weights: also copy the weights of the backbone, so that the folder alone scores on
                a machine without a network.

        Raises:
            AdapterError: the adapter no longer exists.
            BackboneError: as `vlad.backbones.carry.carry`.
            HeadError: the head is an instance or from a file, or a setting changed after `fit` or
                `calibrate`.
            OutputError: the folder is not writable.
        """
        write_detector(self._whole(), Path(folder), self.backbone_ if with_weights else None)
        return Path(folder)

    def replace(self, folder: str | os.PathLike[str]) -> int:
        """Save in place of the detector in a folder, kept there as a version; return its number.

        A copy of the backbone in the folder stays. If the process is killed, the folder holds
        either detector, whole.

        Raises:
            AdapterError, HeadError: as `save`.
            InputError: the folder has no detector.
            OutputError: the folder is not writable, or another process replaced the detector since
                it was loaded from there.
        """
        folder, saved = Path(folder), self._whole()
        read_detector(folder)

        def change(made: Path) -> None:
            place, digest = self._loaded_from
            if place == folder.resolve() and digest != digest_of(made / SETTINGS):
                raise OutputError(
                    f"{folder} was replaced since it was loaded, which this would undo; repeat it "
                    "with the detector that is there now, or save to another folder."
                )
            write_detector(saved, made, home=folder)

        number = replace_files(folder, folder, change)
        self._loaded_from = folder.resolve(), digest_of(folder / SETTINGS)
        return number

    def _whole(self) -> Saved:
        if not isinstance(self.head, str) or ":" in self.head:
            raise HeadError(
                f"Head {self.head!r} has no name that another program can find; register it under "
                "the entry-point group vlad.heads and give that name."
            )
        self._check_unchanged("fit")
        self._check_unchanged("calibrate")
        return Saved(
            {**self.get_params(), **self._files},
            self.weights_,
            self.head_.memory_ if hasattr(self, "head_") else {},
            list(self._marks),
            self.learned_,
            getattr(self, "calibration_", None),
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Load a detector written by `save`.

        Raises:
            InputError: the folder has no detector, a damaged one, one copied in part, or one that
                sends images to a host which VLAD_VLM_HOST does not name.
            OutputError: a replacement of it was stopped half-way, and cannot be completed.
        """
        folder = Path(folder)
        complete(folder)
        found = digest_of(folder / SETTINGS) if (folder / SETTINGS).is_file() else ""
        saved = read_detector(folder)
        check_endpoint(saved.settings, folder)
        detector = cls(**saved.settings)
        detector._loaded_from = folder.resolve(), found
        detector._marks, detector.learned_ = saved.marks, saved.learned
        if saved.weights:
            detector._loaded.expect(detector.setup, saved.weights)
        detector.head_ = detector._new_head()
        if saved.memory:
            detector.head_.memory_ = saved.memory
            detector._fit_with = detector._settings(FIT)
        if saved.calibration:
            detector.calibration_ = saved.calibration
            detector._calibrate_with = detector._settings(CALIBRATE)
            if set(saved.calibration.reference) != {detector.head}:
                raise InputError(
                    f"the calibration in {folder} is not of head {detector.head}; calibrate again."
                )
        return detector
