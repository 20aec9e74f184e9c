"""Heads: a few tensors of maths between features and scores, by name.

`vlad.heads.head` defines a head. The first line of a head's docstring states what it does; its
paper is cited in brackets there or in the module's docstring: (Jeong et al., CVPR 2023, arXiv
2303.14814). Other packages register heads under the entry-point group "vlad.heads"; a head in a
file needs no package: `load_head("my_head.py:Mean")`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from inspect import getattr_static, signature

from vlad.errors import HeadError
from vlad.heads.head import Gather as Gather
from vlad.heads.head import Head
from vlad.heads.head import Pool as Pool
from vlad.heads.head import Trained as Trained
from vlad.system import plugins
from vlad.system.text import instead, shown

HEADS = {
    "winclip": "vlad.heads.winclip:WinCLIP",
    "memory": "vlad.heads.memory:Memory",
    "anomalydino": "vlad.heads.anomalydino:AnomalyDINO",
    "patchcore": "vlad.heads.patchcore:patchcore",
    "subspace": "vlad.heads.subspace:Subspace",
    "mvg": "vlad.heads.mvg:MVG",
    "padim": "vlad.heads.padim:PaDiM",
    "labelled": "vlad.heads.labelled:Labelled",
    "musc": "vlad.heads.musc:MuSc",
    "april_gan": "vlad.heads.april_gan:AprilGAN",
    "clip_ad": "vlad.heads.clip_ad:CLIPAD",
    "anovl": "vlad.heads.anovl:AnoVL",
    "anomalyclip": "vlad.heads.anomalyclip:AnomalyCLIP",
    "adaclip": "vlad.heads.adaclip:AdaCLIP",
    "adaptclip": "vlad.heads.adaptclip:AdaptCLIP",
    "filo": "vlad.heads.filo:FiLo",
    "metauas": "vlad.heads.metauas:MetaUAS",
    "sowa": "vlad.heads.sowa:SOWA",
    "tipsomaly": "vlad.heads.tipsomaly:Tipsomaly",
    "uniadet": "vlad.heads.uniadet:UniADet",
    "laft": "vlad.heads.laft:LAFT",
    "hftt": "vlad.heads.hftt:HFTT",
    "anomalyov": "vlad.heads.anomalyov:AnomalyOV",
    "flashback": "vlad.heads.flashback:Flashback",
    "simplenet": "vlad.heads.simplenet:SimpleNet",
    "dfr": "vlad.heads.dfr:DFR",
    "inp_former": "vlad.heads.inp_former:INPFormer",
    "onenip": "vlad.heads.onenip:OneNIP",
    "self_reference": "vlad.heads.self_reference:SelfReference",
    "visual_words": "vlad.heads.visual_words:VisualWords",
    "statistics": "vlad.heads.statistics:Statistics",
    "vlm": "vlad.heads.vlm:Vlm",
}


def protocol(head: Head) -> str:
    """What to know about a head's results before comparing them with other results.

    "zero-shot" or "few-shot", preceded by "approximate" if the head departs from its method and
    "transductive" if it sees all scored images, followed by "shown known defects" if it was, the
    auxiliary data of its adapter, and its own notes.
    """
    shown = head.fitted and head.normals != "unused"
    parts = ["approximate"] * head.approximate + ["transductive"] * head.transductive
    parts.append("few-shot" if shown else "zero-shot")
    if head.known:
        parts.append("shown known defects")
    if head.adapter_:
        parts.append(f"trained on {head.adapter_.auxiliary}")
    parts += getattr(head, "notes", ())
    return ", ".join(parts)


def titled(name: str, protocol: str) -> str:
    """The name of a head with the parts of its protocol other than zero-shot and few-shot."""
    notes = [n for n in protocol.split(", ") if n not in ("", "zero-shot", "few-shot")]
    return f"{name} ({', '.join(notes)})" if notes else name


def head_names() -> list[str]:
    """Names of all heads, ours and those of installed packages."""
    return sorted(plugins.names("vlad.heads", HEADS))


def sorted_names(tensors: Mapping[str, object], prefix: str) -> list[str]:
    """The tensor names "prefix0", "prefix1", ... that are present, in this order."""
    return [name for i in range(len(tensors)) if (name := f"{prefix}{i}") in tensors]


def head_maker(name: str) -> Callable[..., Head]:
    """The class of a head by name or `file.py:Class`, or a function that makes one.

    Raises:
        HeadError: the name, file or class does not exist, or the file cannot be imported.
        VladError: the package of the head cannot be imported.
    """
    if _in_file(name):
        return _from_file(*name.rsplit(":", 1))
    found = plugins.load("vlad.heads", name, HEADS)
    if found is None:
        raise HeadError(f"Unknown head {shown(repr(name))}{instead(name, head_names())}")
    return found


def load_head(head: str | Head, **params: object) -> Head:
    """A new head by name or `file.py:Class`, or the given head, checked.

    A head without a name takes that of its class in lower case.

    Raises:
        HeadError: an unknown name or parameter, a value against its rules, or not a head.
    """
    if isinstance(head, str):
        made = _made(head, params)
        made.name = head_name(head)
    elif params:
        raise HeadError(f"The head is an instance; set {', '.join(params)} when you make it.")
    else:
        made = head
    check_head(made)
    made.name = _name_of(made)
    return made


def head_name(name: str) -> str:
    """The name used in options and outputs for a head given by name or `file.py:Class`.

    Raises:
        HeadError: as `head_maker`.
    """
    return _name_of(head_maker(name)) if _in_file(name) else name


def _name_of(head: Head | Callable[..., Head]) -> str:
    made = head if isinstance(head, type) else type(head)
    return getattr(head, "name", "") or made.__name__.lower()


def check_head(head: Head) -> None:
    """Raise a HeadError if an object lacks a part of a head or breaks its own rules."""
    name = _name_of(head)
    for part in PARTS:
        if getattr_static(head, part, PARTS) is PARTS:
            raise HeadError(
                f"Head {name} has no {part}; make its class a subclass of vlad.heads.Head."
            )
    for param, rule in head.rules.items():
        value = getattr(head, param)
        if not rule.holds(value):
            raise HeadError(f"Head {name}: {param} is {shown(repr(value))}; give {rule.must}.")


# used by some heads alone
INHERITED = (
    *("name", "pool", "merge", "needed_memory", "whole_images", "rows_of_images"),
    *("least_normals", "reasons", "contributions", "without"),
    *("places", "notes", "asked", "expect"),
)
# what an object needs to count as a head without being a subclass of Head
PARTS = [part for part in vars(Head) if part[0] != "_" and part not in INHERITED]


def _made(name: str, params: Mapping[str, object]) -> Head:
    make = head_maker(name)
    known = signature(make).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        for param in sorted(params.keys() - known.keys()):
            prefix = f"{head_name(name)}."
            raise HeadError(
                f"Unknown parameter {prefix}{shown(param)}{instead(param, known, prefix=prefix)}"
            )
    try:
        return make(**params)
    except (TypeError, ValueError) as error:
        why = shown(error)
        raise HeadError(f"Cannot create head {name} ({why}); correct its class.") from error


def _in_file(name: str) -> bool:
    return name.rpartition(":")[0].endswith(".py")


def _from_file(file: str, attribute: str) -> Callable[..., Head]:
    """A class in a file outside any package.

    Its module is not kept in sys.modules, so Ray sends the class to its workers by value.
    """
    name = f"_vlad_head_{os.path.basename(file).removesuffix('.py')}"
    spec = spec_from_file_location(name, file)
    if not os.path.isfile(file) or spec is None or spec.loader is None:
        raise HeadError(f"File {shown(file)} not found; check the path before the colon.")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # it can raise anything
        why = shown(f"{type(error).__name__}: {error}")
        raise HeadError(f"Cannot import {shown(file)} ({why}); correct it.") from error
    finally:
        del sys.modules[name]
    if not isinstance(found := getattr(module, attribute, None), type):
        own = (x for x in vars(module).values() if isinstance(x, type) and x.__module__ == name)
        classes = [x.__name__ for x in own]
        raise HeadError(f"{shown(file)} has no class {attribute!r}{instead(attribute, classes)}")
    return found
