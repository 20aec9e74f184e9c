"""vlad bench: heads × data sets × shots × seeds in one table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from vlad.commands.options import (
    check_known,
    common_options,
    known_defects_option,
    layout_option,
    make_heads,
    open_backbone,
    say_if_trial,
)
from vlad.commands.options.boxes import boxes_option, check_boxes
from vlad.commands.options.log import log_option
from vlad.commands.options.option import option
from vlad.commands.options.sections import SectionedCommand
from vlad.commands.options.words import words_of, words_option
from vlad.errors import InputError
from vlad.system.text import instead, shown

LISTS = ("head", "k-shot", "seeds", "corruptions")  # options that take a comma-separated list


def _read_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Use the options in a TOML file unless the command line gives them."""
    if value is None:
        return
    from vlad.system.resources import read_toml

    try:
        table = read_toml(Path(value))
    except OSError as error:
        raise InputError(f"{value} cannot be read ({error.strerror}); correct --config.") from None
    except ValueError as error:
        raise InputError(f"{value} is not a TOML file in UTF-8 ({error}); correct it.") from None
    options = {(p.opts[0].lstrip("-") if p.opts else p.name): p for p in ctx.command.params}
    options["data"] = options.pop("roots")
    options.pop("config")
    table = {key.replace("_", "-"): setting for key, setting in table.items()}
    if unknown := sorted(set(table) - set(options)):
        raise InputError(
            f"{value} has the unknown key {unknown[0]}; choose from {', '.join(sorted(options))}."
        )
    ctx.default_map = {
        options[key].name: _as_option(key, setting, options[key], value)
        for key, setting in table.items()
    }


def _as_option(key: str, setting: object, option: click.Parameter, file: str) -> object:
    """A setting of a TOML file as click expects it: one value, or a list for repeated options."""
    if option.name == "words" and isinstance(setting, dict):
        if not all(isinstance(said, str) for said in setting.values()):
            raise InputError(f"{file}: words of a category must be text; correct them.")
        setting = [f"{category}={said}" for category, said in setting.items()]
    words = setting if isinstance(setting, list) else [setting]
    if any(isinstance(word, dict | list) for word in words):
        raise InputError(f"{file}: {key} must be a value or a list of values; correct it.")
    if option.multiple or option.nargs == -1:
        return [str(word) for word in words]
    if key in LISTS:
        return ",".join(map(str, words))
    if isinstance(setting, list):
        raise InputError(f"{file}: {key} takes one value, not a list; correct it.")
    return setting


@click.command(cls=SectionedCommand)
@click.argument("roots", metavar="DIR...", nargs=-1, required=True)
@option(
    "--config TOML",
    "Read options from a file, as in data = ['mvtec'], head = ['winclip', 'memory'], "
    "k-shot = [1, 4], words = {bottle = 'glass bottle'}.",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
)
@option("--head NAMES", "One or several heads, as in winclip,memory.", default="winclip,memory")
@option(
    "--k-shot K,K,...",
    "Numbers of normal images that every head may use, drawn at random.",
    default="0,1,2,4",
)
@option("--seeds N,N,...", "Random seeds for --k-shot.", default="0,1,2")
@option(
    "--corruptions NAMES",
    "Also measure on test images corrupted by brightness, blur, jpeg, noise or shift, "
    "as in blur,noise, or by all; each takes another pass.",
)
@words_option
@layout_option
@common_options
@known_defects_option
@boxes_option
@option("--out DIR", "Output folder; an existing benchmark in it is resumed.", required=True)
@log_option
def bench(
    roots, head, k_shot, seeds, corruptions, words, layout, common, known_defects, boxes, out, log
) -> None:
    """Compare heads over data sets, shots and seeds.

    The tables are written as Markdown, HTML, LaTeX, CSV and Parquet, with 95 % intervals and
    comparisons of the heads. For several categories, --known-defects has a folder for each; test
    images among them are left out.

    \b
    vlad bench mvtec visa --head winclip,memory,musc --k-shot 0,1,4 --out runs/bench
    """
    from vlad.adapters import identities
    from vlad.commands.eval import warn_of_known
    from vlad.datasets import load_dataset
    from vlad.datasets.boxes import boxed, digest
    from vlad.datasets.detect import detect
    from vlad.datasets.known import known_of
    from vlad.evaluation.bench import bench as run_bench
    from vlad.evaluation.figures import by_shots
    from vlad.system.tracking import tracking

    shots, draws = numbers("--k-shot", k_shot), numbers("--seeds", seeds)
    changes = _corruptions(corruptions, boxes)
    data, layouts = {}, {}
    for root in roots:
        name = Path(root).resolve().name
        if name in data:
            raise InputError(f"Two data sets are called {name}; rename the folder of one.")
        layouts[name] = detect(root) if layout == "auto" else layout
        data[name] = load_dataset(layouts[name], root)
        warn_of_known(common.adapters, data[name].categories)
    check_boxes(make_heads(head, common), common, boxes)
    if boxes:
        data = boxed(data, boxes)
    categories = dict.fromkeys(c for found in data.values() for c in found.categories)
    said = words_of(words, categories)
    known = known_of(known_defects, categories) if known_defects else {}
    if known:
        check_known(known, make_heads(head, common))
    tracker = click.get_current_context().with_resource(tracking(log, out))
    backbone = open_backbone(common, make_heads(head, common))
    settings = {
        "data": {name: str(root) for name, root in zip(data, roots, strict=True)},
        "layout": layouts,
        "head": head,
        "k_shot": shots,
        "seeds": draws,
        **({"corruptions": changes} if changes else {}),
        **{k: v for k, v in asdict(common.setup).items() if k != "cache"},
        "params": common.params,
        "adapters": identities(common.adapters),
        **({"boxes": digest(boxes)} if boxes else {}),
        **({"known_defects": known_defects} if known else {}),
        **common.setup.tiling.settings,
        "backbone": backbone.info.name,
        "weights": backbone.fingerprint[:16],
    }
    rows = run_bench(
        backbone,
        data,
        lambda: make_heads(head, common),
        shots,
        draws,
        out,
        settings,
        layouts=layouts,
        setup=common.setup,
        words=said,
        corruptions=changes,
        known=known,
    )
    if tracker:
        tracker.settings(settings)
        for k, figures in by_shots(rows).items():
            tracker.log(figures, k)
    for error in dict.fromkeys(error for row in rows for error in row["errors"]):
        click.echo(shown(f"Left out: {error}", keep="\n"), err=True)
    click.echo(f"{len(rows)} results")
    click.echo(f"Tables: {Path(out) / 'bench.md'}, {Path(out) / 'bench.html'}")
    say_if_trial(backbone)


def _corruptions(text: str | None, boxes: str | None) -> list[str]:
    from vlad.evaluation.corruptions import CORRUPTIONS

    if text is None:
        return []
    found = list(CORRUPTIONS) if text == "all" else [word.strip() for word in text.split(",")]
    for word in found:
        if word not in CORRUPTIONS:
            raise InputError(f"Unknown corruption {word!r}{instead(word, [*CORRUPTIONS, 'all'])}")
    if len(set(found)) < len(found):
        raise InputError(f"--corruptions {text} names one twice; remove it.")
    if boxes and "shift" in found:
        raise InputError(
            "--corruptions shift would move images away from the boxes of --boxes; leave one out."
        )
    return found


def numbers(option: str, text: str) -> list[int]:
    """The different whole numbers from 0 in a comma-separated list.

    Raises:
        InputError: it is no such list.
    """
    try:
        found = [int(word) for word in str(text).split(",")]
    except ValueError:
        found = [-1]
    if min(found) < 0 or len(set(found)) < len(found):
        raise InputError(f"{option} {text} is not a list of different numbers; write it as 0,1,4.")
    return found
