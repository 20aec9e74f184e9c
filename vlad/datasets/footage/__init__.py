"""Labelled data sets of video: which frames are anomalous, and where.

Other packages register layouts under the entry-point group "vlad.footage".
"""

from __future__ import annotations

import os
from typing import Any

from vlad.datasets.footage.clip import Clip, Truth
from vlad.errors import InputError
from vlad.system import plugins
from vlad.system.text import instead

# name -> "module:callable" that takes the root folder; imported on request
FOOTAGE = {
    "ucsd_ped1": "vlad.datasets.footage.ucsd:UCSDPed1",
    "ucsd_ped2": "vlad.datasets.footage.ucsd:UCSDPed2",
    "avenue": "vlad.datasets.footage.avenue:Avenue",
    "shanghaitech": "vlad.datasets.footage.shanghaitech:ShanghaiTech",
    "ubnormal": "vlad.datasets.footage.ubnormal:UBnormal",
    "ucf_crime": "vlad.datasets.footage.ucf_crime:UCFCrime",
    "xd_violence": "vlad.datasets.footage.xd_violence:XDViolence",
    "csv": "vlad.datasets.footage.listed:Listed",
}


def load_footage(name: str, root: str | os.PathLike) -> Any:
    """Open the labelled videos in folder `root`, in the layout `name`.

    Args:
        name: one of FOOTAGE, or of an installed package (entry-point group "vlad.footage").
        root: the folder, or the table for "csv".

    Returns:
        an object with `train()`, the paths of normal videos, and `test()`, a list of Clip. A video
        is a file or a folder of frames.

    Raises:
        InputError: an unknown name, or a folder that is not in that layout.
    """
    found = plugins.load("vlad.footage", name, FOOTAGE)
    if found is None:
        known = plugins.names("vlad.footage", FOOTAGE)
        raise InputError(f"unknown layout of video {name!r}{instead(name, known)}")
    return found(root)


__all__ = ["FOOTAGE", "Clip", "Truth", "load_footage"]
