"""Checkpoints as the programs of methods' authors write them: names, shapes, types, container."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections import OrderedDict
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import open_clip
import pytest
import torch

from vlad.system.resources import read_toml

LAYOUTS = read_toml(Path(__file__).parent / "data" / "released.toml")
FOREIGN = ("src.loss", "omegaconf.dictconfig")  # modules that need not be installed


def names(pattern: str) -> list[str]:
    """ "fc.{0-1}.{weight,bias}" -> its four names."""
    parts = re.split(r"\{(.+?)\}", pattern)
    for i in range(1, len(parts), 2):
        start, _, end = parts[i].partition("-")
        parts[i] = [*map(str, range(int(start), int(end) + 1))] if end else parts[i].split(",")
    return ["".join(words) for words in product(*([p] if isinstance(p, str) else p for p in parts))]


def learned(head: str, drawn: bool = True) -> dict[str, OrderedDict[str, torch.Tensor]]:
    """Entry -> name -> seeded tensor, or one over a single number, without the frozen ones."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for entry, shapes in LAYOUTS[head]["entries"].items():
        state: OrderedDict[str, torch.Tensor] = OrderedDict()
        for pattern, given in shapes.items():
            typed = isinstance(given[0], str)
            kind, shape = (given[0], given[1:]) if typed else ("float32", given)
            one = torch.zeros((), dtype=getattr(torch, kind)).expand(shape)
            for name in names(pattern):
                state[name] = values(name, kind, shape, generator) if drawn else one
        for name in state:  # AdaptCLIP's layers share these modules
            if shared := re.fullmatch(r"((?:local|global)_adapter\.)[1-3](\.\d.+)", name):
                state[name] = state[f"{shared[1]}0{shared[2]}"]
        found[entry] = state
    return found


def values(name: str, kind: str, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    """Numbers about as large as trained ones; of large tensors a block again and again."""
    if kind != "float32":
        return torch.zeros(shape, dtype=getattr(torch, kind))
    fan = max(1, int(np.prod(shape[1:])))
    count = int(np.prod(shape))
    drawn = torch.randn(min(count, 2**20), generator=generator) / fan**0.5
    drawn = drawn.repeat(-(-count // len(drawn)))[:count].clone().reshape(shape)
    return drawn.abs() + 0.5 if name.endswith("running_var") else drawn


def frozen(head: str) -> dict[str, torch.Tensor]:
    """The backbone's tensors in a file: their shapes and types, over a single number each."""
    wanted = LAYOUTS[head].get("frozen", {})
    if not wanted:
        return {}
    with torch.device("meta"):
        state = open_clip.CLIP(**open_clip.get_model_config("ViT-L-14-336")).state_dict()
    one = torch.zeros(())
    return {
        prefix + name: one.expand(x.shape)
        for prefix, pattern in wanted.items()
        for name, x in state.items()
        if re.fullmatch(pattern, name)
    }


def write(head: str, file: Path, change=None) -> None:
    """Write the authors' file, or after a change of its content one without its numbers."""
    content: dict = learned(head, drawn=change is None)
    for state in content.values():
        state.update(frozen(head))
        # as `state_dict` leaves it: what versions the modules have
        state._metadata = OrderedDict({"": {"version": 1}})
    with pytest.MonkeyPatch.context() as patched:
        for module in FOREIGN:
            patched.setitem(sys.modules, module.split(".")[0], ModuleType("outer"))
            patched.setitem(sys.modules, module, kind(module))
        if LAYOUTS[head].get("extras"):
            content |= lightning()
        content = content.get("", content)
        if change:
            change(content)
        # they trained on a GPU
        patched.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(content, file)


def lightning() -> dict:
    """What Lightning saves beside the tensors: the settings of the training, as objects."""
    settings = {
        "optimizer": partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.2),
        "loss": {"cross_entropy": torch.nn.CrossEntropyLoss(), "focal": foreign(FOREIGN[0])},
        "config": foreign(FOREIGN[1]),
        "k_shot": False,
    }
    best = np.float64(0.25)
    return {
        "epoch": 0,
        "global_step": 270,
        "pytorch-lightning_version": "2.2.4",
        "callbacks": {"ModelCheckpoint": {"best_model_score": best, "args": Namespace(seed=1)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []}],
        "hyper_parameters": settings,
    }


def kind(module: str) -> ModuleType:
    """A stand-in for a module, with one class."""
    made = ModuleType(module)
    made.Kind = type("Kind", (), {"__module__": module})
    return made


def foreign(module: str) -> object:
    """An object of that class, with an attribute."""
    made = sys.modules[module].Kind()
    made.alpha = 0.25
    return made
