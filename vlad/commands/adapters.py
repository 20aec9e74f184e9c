"""vlad adapters: list, check, import and export what heads learned on other defects."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from vlad.commands.options.columns import aligned
from vlad.commands.options.option import option
from vlad.errors import AdapterError
from vlad.system.text import shown

BACKBONE = "ViT-L-14-336/openai"


@click.group()
def adapters() -> None:
    """List, show, import, export and verify adapters."""


@adapters.command("list")
def list_() -> None:
    """List the adapters on this disk, and the released checkpoints that can be imported."""
    from vlad.adapters.cards import here, registry

    rows = [["name", "head", "backbone", "trained on", "licence", "where"]]
    for cards, where in ((here(), "here"), (registry(), "not here")):
        for name, card in cards.items():
            fields = (card[key] for key in ("head", "backbone", "auxiliary", "licence"))
            rows.append([*map(shown, (name, *fields)), "broken" if "error" in card else where])
    click.echo(aligned(rows))
    click.echo(
        "\nThose that are not here must be downloaded from their authors and imported first: see "
        "`vlad adapters show NAME` and `vlad adapters import --help`."
    )


@adapters.command()
@click.argument("name")
def show(name) -> None:
    """Print the card of an adapter, by name or folder."""
    import tomli_w

    from vlad.adapters import CARD, find_adapter
    from vlad.adapters.cards import read_card, registry
    from vlad.errors import AdapterError

    try:
        file = find_adapter(name)  # the one that --adapter uses
    except AdapterError:
        if name not in registry():
            raise
        card = registry()[name]
    else:
        card = read_card(file.parent / CARD)
    click.echo(shown(tomli_w.dumps(card), keep="\n"), nl=False)


@adapters.command("import")
@click.argument("file")
@option(
    "--head NAME",
    "Head of the checkpoint: adaclip, adaptclip, anomalyclip, anomalyov, april_gan, clip_ad, "
    "filo, inp_former, metauas or sowa.",
    required=True,
)
@option(
    "--auxiliary WORDS",
    "Data it was trained on, for example visa; named beside every result made with "
    "it.  [default: known if the file's SHA-256 is in the registry]",
)
@option("--backbone NAME|PATH", "Backbone it was trained on.", default=BACKBONE)
@option(
    "--licence WORDS", "Licence of the checkpoint.  [default: from the registry, else not stated]"
)
@option("--name NAME", "Name of the adapter.  [default: from the registry, else HEAD-AUXILIARY]")
@option("--layers N,N,...", "Blocks to use.  [default: as published]")
@option("--out DIR", "Output folder.  [default: the user's adapter folder]")
def import_(file, head, auxiliary, backbone, licence, name, layers, out) -> None:
    """Import a checkpoint released by a method's authors; no code in it is run.

    \b
    vlad adapters import --head anomalyclip epoch_15.pth --auxiliary visa
    """
    import tomli_w

    from vlad.adapters import (
        CARD,
        FILE,
        Adapter,
        adapters_folder,
        digest_of,
        identity,
        is_plain_text,
        save_adapter,
    )
    from vlad.adapters.cards import released
    from vlad.adapters.checkpoint import authors_layout, read_checkpoint
    from vlad.system.files import atomic_write, file_sha256
    from vlad.system.formats import FORMAT

    authors_layout(head)
    path = Path(file)
    if not os.path.isfile(path):  # unlike Path.is_file, False for names too long
        what = f"{path} is a folder" if os.path.isdir(path) else f"There is no file {path}"
        raise AdapterError(f"{what}; name the checkpoint to import.")
    try:
        before = identity(path)
        digest = file_sha256(path)
    except OSError as error:
        raise AdapterError(
            f"{path} could not be read ({error.strerror}); make it readable, or copy it again."
        ) from error
    known, of_authors = released(digest) or (None, {})
    if of_authors.get("backbone", backbone) != backbone:
        click.echo(f"Note: {known} was trained on {of_authors['backbone']}.", err=True)
    trained_on = of_authors.get("auxiliary")
    if trained_on and auxiliary and not _letters(trained_on).startswith(_letters(auxiliary)):
        raise AdapterError(
            f"{file} is {known}, trained on {trained_on} and not on {shown(auxiliary)}; leave out "
            "--auxiliary."
        )
    auxiliary = trained_on or auxiliary
    if auxiliary is None:
        raise AdapterError(
            f"{file} does not say what data it was trained on, which results must name; give "
            "it with --auxiliary, as in --auxiliary VisA."
        )
    if not is_plain_text(auxiliary):
        raise AdapterError(
            "--auxiliary must be one line of text; name the data the checkpoint was trained on."
        )
    if licence is not None and not is_plain_text(licence):
        raise AdapterError("--licence must be one line of text; leave it out if none is stated.")
    name = name or known or f"{head}-{_letters(auxiliary, '-').strip('-')}"
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", name):
        raise AdapterError(
            f"{name!r} is not a valid name for an adapter; give --name up to 64 letters a to z, "
            "digits, -, _ and dots."
        )
    folder = Path(out) if out else adapters_folder() / name
    if (folder / FILE).exists():
        raise AdapterError(f"{folder} already holds an adapter; choose another --name or --out.")
    from vlad.backbones import describe

    tensors, params = read_checkpoint(path, head, describe(backbone), _layers(layers))
    adapter = Adapter(name, head, backbone, auxiliary, params, tensors)
    written_as = digest_of(adapter)
    if identity(path) != before:
        raise AdapterError(f"{path} changed while it was read; import it again.")
    card = {
        "format": FORMAT,
        "head": head,
        "backbone": backbone,
        "auxiliary": auxiliary,
        "licence": licence or of_authors.get("licence", "not stated"),
        # a file name can hold bytes that are not text
        "source": "imported from " + os.fsencode(path.name).decode(errors="replace"),
        "source_sha256": digest,
        "sha256": written_as,
        "figures": [],
        "params": params,
    }
    # the tensors last: an import that stops before them can simply be repeated
    atomic_write(folder / CARD, tomli_w.dumps(card).encode())
    written = save_adapter(adapter, folder)
    click.echo(f"{len(tensors)} tensors written to {written}")
    use = name if not out else folder
    click.echo(f"Use it with --backbone {backbone} --head {head} --adapter {use}")


@adapters.command()
@click.argument("adapter")
@option("--out FILE", "Output file, in the format of torch.save.", required=True)
@option("--backbone NAME|PATH", "Backbone it was trained on.  [default: the adapter's own]")
def export(adapter, out, backbone) -> None:
    """Export an adapter for the program of its method's authors."""
    from vlad.adapters import find_adapter, load_adapter, read_adapter
    from vlad.adapters.checkpoint import WORDS, write_checkpoint
    from vlad.backbones import describe, load_backbone

    found = read_adapter(find_adapter(adapter))
    repeats = found.head in WORDS  # embeddings of the text encoder
    loaded = load_backbone(backbone or found.backbone, "cpu") if repeats else None
    info = loaded.info if loaded else describe(backbone or found.backbone)
    load_adapter(found, found.head, info)  # whether it is whole
    write_checkpoint(found, Path(out), loaded)
    click.echo(f"{len(found.tensors)} learned tensors written to {out}")


@adapters.command()
@click.argument("adapter")
@option("--backbone NAME|PATH", "Backbone it was trained on.  [default: the adapter's own]")
def verify(adapter, backbone) -> None:
    """Check an adapter against its card and its backbone."""
    from vlad.adapters import find_adapter, load_adapter
    from vlad.adapters.cards import read_checked
    from vlad.backbones import describe

    file = find_adapter(adapter)
    found = read_checked(file)
    load_adapter(found, found.head, describe(backbone or found.backbone))
    click.echo(f"{file} is intact and fits {backbone or found.backbone}")


def _letters(text: str, between: str = "") -> str:
    return re.sub("[^a-z0-9]+", between, text.lower())


def _layers(text: str | None) -> list[int] | None:
    try:
        found = [int(word) for word in text.split(",")] if text else None
    except ValueError:
        found = [0]
    if found and min(found) < 1:
        raise AdapterError(f"--layers {text} is not a list of blocks; write it as 6,12,18,24.")
    return found
