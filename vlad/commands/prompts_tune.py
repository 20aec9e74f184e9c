"""vlad prompts tune: choose states of prompt banks on labelled images."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import Common, given, layout_option, open_backbone, say_if_trial
from vlad.commands.options.columns import aligned
from vlad.commands.options.option import option
from vlad.commands.options.sections import SectionedCommand
from vlad.commands.options.words import words_of, words_option
from vlad.errors import HeadError, InputError, OutputError
from vlad.system.text import counted, instead, shown

if TYPE_CHECKING:
    from vlad.prompts import PromptBank
    from vlad.training.states import Tuned
    from vlad.types import Sample

DEFAULT = "winclip"
READING = ("backbone", "image_size", "batch_size", "device", "dtype", "max_pixels", "bits")


@click.command("tune", cls=SectionedCommand)
@click.argument("root", metavar="DIR")
@option("--category CATEGORY", "The category of DIR to tune for.  [default: its only one]")
@words_option
@layout_option
@option("--seed N", "Random seed of the halves.", type=click.IntRange(min=0), default=0)
@option("--bank NAME|TOML", f"Prompt bank to tune.  [default: {DEFAULT}]")
@option(
    "--states NAME|TOML",
    "Prompt bank whose states may be chosen too; may be repeated.",
    multiple=True,
)
@given(*READING)
@option("--out FILE", "TOML file for the tuned bank.", required=True)
@option("--overwrite", "Replace the bank in --out.")
@option("--anyway", "Write the bank even without a proven gain.")
def tune(
    root, category, words, layout, seed, bank, states, out, overwrite, anyway, **reading
) -> None:
    """Choose the states of a prompt bank that tell your good and defective images apart.

    DIR is a labelled data set; its training and test images of one category are used, at least 20
    good ones and 20 with a defect. States are chosen on random halves and measured on the other
    halves. Only if they beat the bank there by more than noise, the states chosen on all images
    are written.

    \b
    vlad prompts tune parts/bracket --out bracket.toml
    vlad prompts tune mvtec --category bottle --states april_gan --out bottle.toml
    vlad eval other_parts/bracket --head winclip --bank bracket.toml
    """
    from vlad import __version__
    from vlad.datasets import load_dataset
    from vlad.prompts import load_bank
    from vlad.scoring.setup import Setup
    from vlad.system.files import atomic_write, check_writable
    from vlad.system.progress import Progress
    from vlad.training.states import candidates, check_counts, count, tune, tuned_text

    file = Path(out)
    if file.suffix != ".toml":
        raise OutputError(f"{out} does not end in .toml, as banks do; name such a file.")
    if file.exists() and not overwrite:
        raise OutputError(f"{out} exists; add --overwrite to replace it, or name another file.")
    banks = [load_bank(name) for name in (bank or DEFAULT, *states)]
    data = load_dataset(layout, root)
    chosen = _category(list(data.categories), category)
    said = words_of(words, [chosen]).get(chosen, chosen)
    samples = _labelled([*(replace(s, label=0) for s in data.train(chosen)), *data.test(chosen)])
    check_counts(count(samples))
    found = candidates(banks[0], banks[1:], said)
    if found.left_out:
        click.echo(
            f"{counted(len(found.left_out), 'state')} of --states left out, on the other side of "
            f"another bank: {shown(', '.join(found.left_out))}",
            err=True,
        )
    check_writable(file.parent)
    setup = Setup(**{name: value for name, value in reading.items() if value is not None})
    backbone = open_backbone(Common(setup, (), ()), {})
    if not backbone.info.has_text:
        raise HeadError(
            f"{backbone.info.name} has no text encoder, so prompts have no effect on it; choose a "
            "CLIP or SigLIP backbone."
        )
    with Progress(len(samples), verb="embedded") as progress:
        done = tune(backbone, found, samples, setup, seed, progress.advance)
    for path, error in done.errors.items():
        click.echo(shown(f"Left out {path}: {error}", keep="\n"), err=True)
    if done.copies:
        click.echo(
            f"{counted(done.copies, 'image')} left out: copies of others, which would be in both "
            "halves.",
            err=True,
        )
    click.echo(table(done, banks))
    click.echo(verdict(done, banks[0].name))
    if done.checked.proven or anyway:
        origin = (
            f"vlad {__version__} prompts tune on {done.counts[0]} good and {done.counts[1]} "
            f"defective images of {shown(chosen)}, backbone {backbone.info.name} "
            f"({backbone.fingerprint[:16]}), {date.today().isoformat()}"
        )
        atomic_write(file, tuned_text(done, banks, said, origin).encode())
        click.echo(f"Bank: {out}")
    else:
        click.echo("Nothing is written; add --anyway to write the chosen states.")
    say_if_trial(backbone)


def _category(known: list[str], category: str | None) -> str:
    if category is None:
        if len(known) > 1:
            raise InputError(
                f"There are {len(known)} categories ({shown(', '.join(known))}); name one with "
                "--category."
            )
        return known[0]
    if category not in known:
        raise InputError(f"Unknown category {shown(repr(category))}{instead(category, known)}")
    return category


def _labelled(samples: list[Sample]) -> list[Sample]:
    """The samples with a label; says how many have none."""
    known = [sample for sample in samples if sample.label is not None]
    if without := len(samples) - len(known):
        click.echo(f"{counted(without, 'image')} left out: no label.", err=True)
    return known


def table(done: Tuned, banks: list[PromptBank]) -> str:
    """A line for each chosen state, and one for each side of the bank that was tuned."""
    found, checked = done.candidates, done.checked
    rows = [["side", "state", "halves that chose it"]]
    for side, chosen, times in (
        ("normal", done.chosen.normal, checked.normal),
        ("anomalous", done.chosen.anomalous, checked.anomalous),
    ):
        states = getattr(found, side)
        rows += [[side, states[i], f"{times[i]} of {checked.halves}"] for i in chosen]
    names = " and ".join(bank.name for bank in banks)
    head = (
        f"Chosen on all {done.counts[0]} good and {done.counts[1]} defective images, of "
        f"{len(found.normal)} normal and {len(found.anomalous)} anomalous states of {names}:"
    )
    return "\n".join([head, aligned(rows)])


def verdict(done: Tuned, name: str) -> str:
    """What the held-out halves say."""
    from vlad.prompts.tuning import ERRORS

    checked = done.checked
    gain, noise = 100 * checked.gain, 100 * checked.noise
    figures = (
        f"Held out, mean of {checked.halves} halves: image AUROC {100 * checked.tuned:.1f} with "
        f"chosen states, {100 * checked.original:.1f} with all of {name}; gain {gain:+.1f} points, "
        f"standard error {noise:.1f}."
    )
    if checked.proven:
        return f"{figures}\nThe gain exceeds its noise ({ERRORS} standard errors)."
    return (
        f"{figures}\nNo gain beyond noise ({ERRORS} standard errors): as far as these images can "
        f"tell, {name} is as good without tuning."
    )
