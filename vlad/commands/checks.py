"""The checks of `vlad doctor`: what is installed, and what is wrong with it.

Every check returns facts and problems; it never raises for a problem it looks for.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlad import __version__
from vlad.backbones import DEFAULT
from vlad.system import processor
from vlad.system.resources import cache_folder

VARIABLES = (
    "VLAD_OFFLINE", "VLAD_CACHE", "HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE",
    "TRANSFORMERS_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
)  # fmt: skip
OFF = ("", "0", "false", "no", "off")
# the score of one shipped image by head memory with the built-in backbone and one reference
SMOKE_SCORE, SMOKE_TOLERANCE = 0.68563, 5e-4
TRIAL = 0.4  # seconds to measure products in one dtype
REINSTALL = "reinstall vlad in a fresh environment"


@dataclass(frozen=True)
class Problem:
    """One sentence that says what is wrong and how to fix it.

    Attributes:
        text: the sentence.
        broken: whether something does not work; otherwise it is a note.
    """

    text: str
    broken: bool


@dataclass
class Examination:
    """Facts by the name of their check, and all problems."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        """Whether something does not work."""
        return any(problem.broken for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """What `vlad doctor --json` writes."""
        return {**self.facts, "problems": [asdict(problem) for problem in self.problems]}


Found = tuple[Any, list[Problem]]


def examine() -> Examination:
    """Run every check."""
    done = Examination()
    for name, check in CHECKS.items():
        try:
            facts, problems = check()
        except Exception as error:  # whatever it was, the other checks still help
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            facts, problems = None, [Problem(f"{name} failed ({why}); {REINSTALL}.", True)]
        done.facts[name] = facts
        done.problems += problems
    return done


def check_versions() -> Found:
    """Versions of python, vlad and what it requires."""
    from packaging.requirements import Requirement

    facts = {"python": platform.python_version(), "vlad": __version__}
    problems = []
    try:
        lines = importlib.metadata.requires("vlad-vision") or []
    except importlib.metadata.PackageNotFoundError:
        text = "vlad runs from a folder without being installed, so its requirements are unknown"
        return facts, [Problem(f"{text}; install it with `pip install .` there.", False)]
    for needed in map(Requirement, lines):
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        wanted = f"{needed.name}{needed.specifier}"
        try:
            facts[needed.name] = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            what = f"{needed.name} is not installed"
        else:
            if needed.specifier.contains(facts[needed.name], prereleases=True):
                continue
            what = f"{needed.name} is {facts[needed.name]}, but vlad needs {wanted}"
        problems.append(Problem(f"{what}; run `pip install '{wanted}'`.", True))
    return facts, problems


def check_device() -> Found:
    """Where `--device auto` computes, and whether bfloat16 is faster there."""
    import torch

    from vlad.backbones import choose_device
    from vlad.system.machine import machine, product_ms

    device = torch.device(choose_device("auto"))
    facts: dict[str, Any] = {
        "auto": device.type,
        **{key: machine(device)[key] for key in ("device", "cpu", "threads")},
        "cores": processor.cores(),
        "cuda": [_gpu(i) for i in range(torch.cuda.device_count())],
        "mps": torch.backends.mps.is_available(),
        "product_ms": {
            name: product_ms(device, getattr(torch, name), TRIAL)
            for name in ("float32", "bfloat16")
        },
    }
    problems = []
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        what = f"an NVIDIA driver is installed, but torch {torch.__version__} computes on the CPU"
        fix = "install a torch build for its CUDA version (see pytorch.org)"
        problems.append(Problem(f"{what}; {fix}.", False))
    if facts["threads"] > facts["cores"]:
        what = f"torch uses {facts['threads']} threads on {facts['cores']} cores, which is slow"
        problems.append(Problem(f"{what}; set OMP_NUM_THREADS={facts['cores']}.", False))
    return facts, problems


def _gpu(index: int) -> dict[str, Any]:
    import torch

    found = torch.cuda.get_device_properties(index)
    return {"name": found.name, "memory": found.total_memory}


def check_backbones() -> Found:
    """The backbones whose weights are on this disk."""
    from vlad.backbones.network import forbidden_by, hub_answers, is_offline
    from vlad.backbones.stored import stored_backbones

    backbones = stored_backbones()
    facts = [{"name": t.name, "path": str(t.path), "size": t.size} for t in backbones]
    problems = []
    if DEFAULT not in [backbone.name for backbone in backbones]:
        what = f"the default backbone {DEFAULT} is not on this disk"
        if is_offline():
            what += ", and downloads are off"
            fix = f"download it once without {forbidden_by()}, or name another --backbone"
        elif hub_answers():
            fix = "the first command that uses it downloads it"
        else:
            what += ", and the model hub does not answer"
            fix = "connect to the network once, or add --backbone vlad-tiny to commands"
        problems.append(Problem(f"{what}; {fix}.", False))
    return facts, problems


def check_caches() -> Found:
    """What vlad and the hubs keep in the user's caches."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from vlad.adapters.cards import here
    from vlad.backbones.stored import OPEN_CLIP_CACHE

    try:
        own = cache_folder()
    except RuntimeError:
        what = "vlad has no cache folder because the user has no home folder"
        return [], [Problem(f"{what}; set VLAD_CACHE to a folder.", True)]
    folders = {
        "texts": own / "text",
        "adapters": own / "adapters",
        "weights (model hub)": Path(HF_HUB_CACHE),
        "weights (open_clip)": OPEN_CLIP_CACHE.expanduser(),
    }
    facts = [{"of": k, "path": str(v), "size": _size(v)} for k, v in folders.items()]
    problems = []
    nearest = next(folder for folder in (own, *own.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = f"the cache {own} is not writable, so every run embeds its texts again"
        problems.append(Problem(f"{what}; set VLAD_CACHE to a folder you may write to.", False))
    for name, card in here().items():
        if "error" in card:
            why = card["error"].rstrip(".")
            problems.append(Problem(f"adapter {name} is broken: {why}; import it again.", True))
    return facts, problems


def _size(folder: Path) -> int:
    """Bytes of the files in a folder, each counted once however many links point to it."""
    found = (Path(root, file) for root, _, files in os.walk(folder) for file in files)
    return sum(path.stat().st_size for path in found if not path.is_symlink())


def check_environment() -> Found:
    """Environment variables that vlad and its libraries obey."""
    from vlad.backbones.network import OFFLINE, ON

    facts = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    problems = [
        Problem(f"{name}={facts[name]} has no effect; set it to 1, or unset it.", False)
        for name in OFFLINE
        if facts.get(name, "").lower() not in (*ON, *OFF)
    ]
    return facts, problems


def check_score() -> Found:
    """Score one shipped image and compare with its score at release."""
    from vlad.demo import HAZELNUT
    from vlad.detector import Detector

    detector = Detector("memory", backbone="vlad-tiny").fit(HAZELNUT / "train" / "good" / "00.jpg")
    score = float(detector.score(HAZELNUT / "test" / "colour" / "00.jpg").image_score[0])
    facts = {"head": "memory", "backbone": "vlad-tiny", "score": score, "expected": SMOKE_SCORE}
    if abs(score - SMOKE_SCORE) <= SMOKE_TOLERANCE:
        return facts, []
    what = f"a shipped image scores {score:.5f} instead of {SMOKE_SCORE:.5f}"
    return facts, [Problem(f"{what}; {REINSTALL}, or try --device cpu.", True)]


CHECKS: dict[str, Callable[[], Found]] = {
    "versions": check_versions,
    "device": check_device,
    "backbones": check_backbones,
    "caches": check_caches,
    "environment": check_environment,
    "score": check_score,
}
