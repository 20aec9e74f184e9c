"""vlad eval: metrics of heads on a labelled data set."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import (
    Common,
    check_known,
    common_options,
    known_defects_option,
    layout_option,
    make_heads,
    open_backbone,
    roi_options,
    say_if_trial,
)
from vlad.commands.options.boxes import box_model_option, boxes_option, check_boxes, open_box_model
from vlad.commands.options.columns import aligned
from vlad.commands.options.detector import detector_option, open_detector
from vlad.commands.options.option import option
from vlad.commands.options.questions import QuestionOptions, check_questions, question_options
from vlad.commands.options.sections import SectionedCommand
from vlad.commands.options.vlm import VlmOptions, vlm_options
from vlad.commands.options.words import words_of, words_option
from vlad.commands.questions import ask_questions
from vlad.errors import InputError
from vlad.system.text import shown

if TYPE_CHECKING:
    from vlad.evaluation import Result
    from vlad.heads import Head
    from vlad.types import Sample


@click.command("eval", cls=SectionedCommand)
@click.argument("root", metavar="DIR")
@option(
    "--category CATEGORY",
    "Measure only this category; may be repeated.  [default: all in DIR]",
    "categories",
    multiple=True,
)
@words_option
@option(
    "--head NAMES",
    "One or several heads, as in winclip,memory.  [default: memory with --k-shot, winclip without]",
)
@option(
    "--k-shot K",
    "Normal images that every head may use, drawn at random.  [default: 4 for heads "
    "that need some, else 0]",
    type=click.IntRange(min=0),
)
@option(
    "--seed N",
    "Random seed for --k-shot, and for the order of options in --questions.",
    type=click.IntRange(min=0),
    default=0,
)
@question_options
@vlm_options
@layout_option
@detector_option
@roi_options
@common_options
@known_defects_option
@boxes_option
@box_model_option
@option("--json FILE", "Also write the results as JSON.", "json_file")
@option(
    "--submission DIR",
    "Also write the maps of the private splits of MVTec AD 2 for its server; new or empty folder.",
)
def evaluate(
    root,
    categories,
    words,
    head,
    k_shot,
    seed,
    questions: QuestionOptions,
    vlm: VlmOptions,
    layout,
    detector,
    common: Common,
    known_defects,
    boxes,
    boxes_model,
    json_file,
    submission,
) -> None:
    """Measure heads on a labelled data set, or a model on questions.

    DIR is one category, or a folder of categories; --known-defects then has a folder for each, and
    test images among them are left out. With --questions, DIR holds the images that these name.

    \b
    vlad eval mvtec/bottle --head winclip,memory --k-shot 4
    vlad eval mvtec/bottle --detector detectors/bottle
    vlad eval btad --head winclip --words 01="round part" --words 02="wooden panel"
    vlad eval mvtec_ad_2 --head memory --k-shot 16 --submission upload
    vlad eval MMAD --questions MMAD/mmad.json --vlm HuggingFaceTB/SmolVLM-500M-Instruct --k-shot 1
    """
    from vlad.datasets import load_dataset
    from vlad.datasets.boxes import boxed, digest
    from vlad.datasets.detect import detect
    from vlad.datasets.known import known_of
    from vlad.evaluation import Entry, evaluate_category, rules_of, shots_of
    from vlad.prompts import load_bank
    from vlad.system.files import atomic_write, check_file
    from vlad.system.machine import machine

    check_questions(questions, vlm.model)
    if questions.file:
        ask_questions(root, questions, vlm, common, k_shot or 0, seed, json_file)
        return
    fitted = None
    if detector:
        fitted, common = open_detector(detector)
    head = head or ("memory" if k_shot else "winclip")
    layout = detect(root) if layout == "auto" else layout
    data = load_dataset(layout, root)
    chosen = categories or list(data.categories)
    said = words_of(words, chosen)
    if fitted:
        heads = {fitted.head_.name: fitted.head_}
        said = {name: fitted.category for name in chosen if fitted.category} | said
    else:
        heads = make_heads(head, common)
    check_boxes(heads, common, boxes, boxes_model)
    if boxes:
        data = boxed({root: data}, boxes)[root]
    referring = not fitted and any(shots_of(made, k_shot) for made in heads.values())
    sets = {name: (data.test(name), data.train(name) if referring else []) for name in chosen}
    known = known_of(known_defects, chosen) if known_defects else {}
    if known:
        check_known(known, heads)
    rules = {name: rules_of(data, name) for name in chosen}
    private = _private(data, chosen, said, heads, submission) if submission else {}
    check_file(json_file)
    if common.setup.bank:
        load_bank(common.setup.bank)
    common = replace(common, setup=common.setup.with_region())
    backbone = open_backbone(common, heads)
    if fitted:
        fitted.backbone_ = backbone
    box_model = open_box_model(boxes_model, backbone)
    warn_of_known(common.adapters, chosen)
    results = []
    for name, (test, train) in sets.items():
        results += evaluate_category(
            backbone,
            [Entry(key, made, learned=fitted.learned_) for key, made in heads.items()]
            if fitted
            else [
                Entry(key, made, shots_of(made, k_shot), seed)
                for key, made in make_heads(head, common).items()
            ],
            name,
            train,
            test,
            common.setup,
            words=said.get(name),
            box_model=box_model,
            known=known.get(name, ()),
            **rules[name],
            then=partial(_submit, private[name], name, submission, common) if private else None,
        )
    for path, error in {p: e for r in results for p, e in r.errors.items()}.items():
        click.echo(shown(f"Left out {path}: {error}", keep="\n"), err=True)
    click.echo(table(results))
    if submission:
        click.echo(f"Submission: {submission}")
    say_if_trial(backbone)
    if json_file:
        found = {
            "backbone": backbone.info.name,
            "weights": backbone.fingerprint[:16],
            "dtype": backbone.precision,
            "runtime": backbone.runtime,
            "layout": layout,
            **({"roi": region.digest} if (region := common.setup.region) else {}),
            "seed": seed,
            **({"boxes": digest(boxes)} if boxes else {}),
            **({"boxes": box_model.identity} if box_model else {}),
            **machine(backbone.device),
            "results": [
                vars(r) | {"metrics": _numbers(r.metrics), "bounds": _numbers(r.bounds)}
                for r in results
            ],
        }
        atomic_write(Path(json_file), json.dumps(found, indent=2).encode())


def _private(
    data, categories: Sequence[str], said: Mapping[str, str], heads: Mapping[str, Head], out: str
) -> dict[str, list[Sample]]:
    """Category -> its images without labels.

    Raises:
        InputError: a set without them, or heads that no submission can be made with.
        OutputError: `out` is not a new or empty folder.
    """
    from vlad.evaluation.submission import check_submission

    if not hasattr(data, "unlabelled"):
        raise InputError(
            "--submission is for data sets with private splits, such as mvtec_ad_2, and without "
            "--boxes; leave it out."
        )
    if len(heads) > 1 or any(head.transductive for head in heads.values()):
        raise InputError(
            f"--submission needs one head that scores images one by one, but --head names "
            f"{', '.join(heads)}; name one, such as memory."
        )
    check_submission(out)
    return {
        name: [replace(s, category=said.get(name, name)) for s in data.unlabelled(name)]
        for name in categories
    }


def _submit(
    samples: Sequence[Sample], category: str, out: str, common: Common, panel, spreads
) -> None:
    """Write the submission of one category."""
    from vlad.evaluation.submission import write_submission

    (spread,) = spreads.values()
    write_submission(panel, spread, samples, category, out, common.setup)


def warn_of_known(adapters: Sequence[str], categories: Sequence[str]) -> None:
    """Warn of categories that an adapter was trained on: results there are not zero-shot."""
    from vlad.adapters import find_adapter, read_adapter

    for name in adapters:
        trained_on = read_adapter(find_adapter(name)).params.get("categories", ())
        if known := sorted(set(categories) & set(trained_on)):
            warnings.warn(
                f"adapter {name} was trained on {', '.join(known)}; that is not zero-shot.",
                stacklevel=2,
            )


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """The values for JSON, which has no NaN."""
    return {name: None if value != value else value for name, value in values.items()}


def table(results: Sequence[Result]) -> str:
    """Results as lines of text, in percent; the mean follows of heads that saw all categories."""
    from vlad.evaluation import mean
    from vlad.evaluation.tables import COLUMNS, caution
    from vlad.heads import titled

    columns = [name for name in COLUMNS if any(name in r.metrics for r in results)]
    rows = [["category", "head", "k-shot", *(COLUMNS[name] for name in columns)]]
    # a head that saw the test images, or other defects, must not pass for plain zero-shot
    labels = {result.head: titled(result.head, result.protocol) for result in results}

    def add(category: str, head: str, k_shot: int, metrics) -> None:
        values = (f"{100 * metrics[name]:.1f}" if name in metrics else "–" for name in columns)
        rows.append([category, labels[head], str(k_shot), *values])

    for result in results:
        add(shown(result.category), result.head, result.k_shot, result.metrics)
    categories = {result.category for result in results}
    for head in dict.fromkeys(result.head for result in results):
        own = [result for result in results if result.head == head]
        if len(categories) > 1 and {result.category for result in own} == categories:
            add("mean", head, own[0].k_shot, mean(own))
    lines = [aligned(rows, names=2)]
    if warning := caution(bound for result in results for bound in result.bounds.values()):
        lines.append(warning.strip())
    return "\n".join(lines)
