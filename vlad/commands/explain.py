"""vlad explain: why images score as they do."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import (
    Common,
    check_known,
    common_options,
    make_detector,
    make_heads,
    open_backbone,
    roi_options,
    say_if_trial,
)
from vlad.commands.options.detector import detector_option, open_detector
from vlad.commands.options.option import option
from vlad.commands.options.scoring import ScoringCommand, default_head, normal_options
from vlad.commands.options.vlm import VlmOptions, vlm_options
from vlad.errors import ImageError, InputError, OutputError
from vlad.system.text import counted, encode, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlad.detector import Detector
    from vlad.reasons import Explanation
    from vlad.types import Sample


@click.command(cls=ScoringCommand)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@normal_options
@option(
    "--head NAME",
    "The head to explain.  [default: memory with --normal, winclip with --category or --bank, "
    "self_reference without any]",
)
@detector_option
@vlm_options
@roi_options
@common_options
@option("--out DIR", "Also draw each explanation as an image in this folder.")
@option("--overwrite", "Replace images in the output folder.")
@option("--json FILE", "Also write the explanations, a JSON object a line.", "json_file")
def explain(
    paths: tuple[str, ...],
    category: str | None,
    normals: tuple[str, ...],
    known_defects: str | None,
    k_shot: int | None,
    seed: int,
    head: str | None,
    detector: str | None,
    vlm: VlmOptions,
    common: Common,
    out: str | None,
    overwrite: bool,
    json_file: str | None,
) -> None:
    """Say which regions of images are anomalous, and why.

    PATH is a file, a folder, a pattern, or a CSV manifest with a column `path`. Regions come
    largest first, each with its share of the image score and what the head compares it with. With
    --vlm, a vision-language model adds what it sees; scores and regions stay as they are. The exit
    code is 1 if an image could not be explained.

    \b
    vlad explain part.png --detector detectors/bottle
    vlad explain parts/ --normal good/ --k-shot 4 --out explained/
    vlad explain part.png --normal good/ --head patchcore --json reasons.jsonl
    vlad explain part.png --normal good/ --vlm http://127.0.0.1:8000/v1 --vlm-model qwen2.5-vl
    """
    from vlad.datasets import list_samples
    from vlad.reasons import say
    from vlad.system.files import atomic_write

    samples = list_samples(paths, out)
    if not samples:
        raise InputError(f"All these images are in the output folder {out}; choose another.")
    if out and not overwrite:
        _check_free(samples, out)
    categorised = any(sample.category for sample in samples)
    if detector:
        made, common = open_detector(detector, category)
        made.backbone_ = open_backbone(common, {made.head_.name: made.head_})
    else:
        named = bool(category or common.setup.bank or categorised)
        made = _made(head or default_head(bool(normals), named), category, common, known_defects)
        _fit(made, normals, k_shot, seed, known_defects)
    model = vlm.open(common.setup.device)
    lines: dict[str, str] = {}  # by the id of a sample
    explained: list[Sample] = []

    def explanations() -> Iterator[tuple[Explanation, str | None]]:
        for sample in samples:
            try:
                one = made.explain(sample.path, category=sample.category)
            except ImageError as error:
                click.echo(f"Error: {shown(error)}", err=True)
                lines[sample.id] = json.dumps({"image": str(sample.path), "error": str(error)})
                continue
            explained.append(sample)
            yield one, sample.category or made.category

    found: Iterator[Explanation] = (one for one, _ in explanations())
    if model is not None:
        found = say(model, explanations(), len(samples), tell=partial(click.echo, err=True))
    silent = 0
    for number, one in enumerate(found):
        sample = explained[number]
        silent += one.words is not None and bool(one.words.error)
        click.echo(one.text())
        lines[sample.id] = one.to_json()
        if out:
            _draw(one, _file_of(sample, out))
    if json_file:
        text = "".join(f"{lines[sample.id]}\n" for sample in samples)
        atomic_write(json_file, encode(text))
    if silent:
        click.echo(f"No answer of the model about {counted(silent, 'image')}.", err=True)
    say_if_trial(made.backbone_)
    if len(explained) < len(samples):
        raise SystemExit(1)


def _made(head: str, category: str | None, common: Common, known_defects: str | None) -> Detector:
    """A detector of the options, with its backbone."""
    heads = make_heads(head, common)
    made = make_detector(head, category, common)
    check_known(known_defects, heads)
    made.backbone_ = open_backbone(common, heads)
    return made


def _fit(
    made: Detector,
    normals: tuple[str, ...],
    k_shot: int | None,
    seed: int,
    known_defects: str | None,
) -> None:
    """Fit a detector on the normal images, if it uses some."""
    from vlad.datasets import list_samples
    from vlad.datasets.shots import draw_shots
    from vlad.heads import load_head

    own = load_head(made.head, **(made.head_params or {}))
    if not normals:
        if k_shot:
            raise InputError("--k-shot draws from normal images; name them with --normal.")
        if own.normals == "needed":
            raise InputError(
                f"Head {own.name} compares with normal images; name them with --normal."
            )
        return
    if own.normals == "unused":
        raise InputError(
            f"Head {own.name} uses no normal images; leave --normal out, or choose a head such as "
            "memory."
        )
    shown = draw_shots(list_samples(normals), k_shot, seed)
    made.fit([sample.path for sample in shown], known_defects=known_defects)


def _file_of(sample: Sample, out: str) -> Path:
    """Where the explanation of an image is drawn."""
    return Path(out) / f"{sample.id}.png"


def _check_free(samples: list[Sample], out: str) -> None:
    """Raise an OutputError if an explanation would replace a file."""
    for file in (_file_of(sample, out) for sample in samples):
        if file.exists():
            raise OutputError(
                f"{file} exists; add --overwrite to replace it, or choose another folder."
            )


def _draw(found: Explanation, file: Path) -> None:
    from vlad.system.files import atomic_write

    atomic_write(file, lambda opened: found.draw().save(opened, "PNG"))
