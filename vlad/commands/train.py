"""vlad train: an adapter learned on auxiliary data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vlad.commands.options import given, layout_option, quiet_open_clip
from vlad.commands.options.log import log_option
from vlad.commands.options.option import option
from vlad.commands.options.words import words_of, words_option
from vlad.errors import TrainingError
from vlad.system.text import shown

if TYPE_CHECKING:
    from vlad.adapters import Adapter


@click.command()
@click.argument("recipe", metavar="RECIPE")
@option(
    "--data DIR[:WEIGHT]",
    "Labelled data set; its test images are the training data; may be repeated. "
    "WEIGHT is how often an epoch sees each image, as in visa:2.",
    "roots",
    multiple=True,
)
@layout_option
@option(
    "--synthetic DIR[:WEIGHT]",
    "Normal images, or a data set to take them from; defects are drawn on half of "
    "them; may be repeated.",
    multiple=True,
)
@option(
    "--hold-out CATEGORY",
    "Keep a category out of the data, keep the epoch that is best on it, and stop "
    "early; may be repeated.",
    "hold_out",
    multiple=True,
)
@option(
    "--for-category CATEGORY",
    ("What the adapter is for: warn if this is in the data, since it is not zero-shot then."),
    "targets",
    multiple=True,
)
@words_option
@option(
    "--category WORDS",
    "What normal images show, for a recipe that learns from texts, as hftt; may be repeated.",
    "categories",
    multiple=True,
)
@option(
    "--vocabulary FILE",
    "Other words for a recipe that learns from texts, one a line.  [default: about 1200 "
    "English nouns]",
)
@option("--licence WORDS", "Licence to record in the adapter's card.", required=True)
@option("--out DIR", "Output folder.", required=True)
@given("bank", "backbone", "image_size", "device", "dtype", "max_pixels", "bits")
@option("--seed N", "Random seed.  [default: the recipe's own]", type=click.IntRange(0, 2**32 - 1))
@option(
    "--accumulate N",
    "Split each batch into N parts: less memory, same result.",
    type=click.IntRange(min=1),
    default=1,
)
@option(
    "--gradient-checkpointing",
    "Use less memory and more time if the head learns tokens inside the backbone.",
)
@option(
    "--cache DIR",
    "Keep the backbone's features here for later trainings.  [default: in --out, "
    "removed at the end]",
)
@option("--resume", "Continue an interrupted training.")
@log_option
def train(
    recipe, roots, layout, synthetic, hold_out, targets, words, categories, bank, vocabulary,
    licence, out, backbone, image_size, device, dtype, max_pixels, bits, seed, accumulate,
    gradient_checkpointing, cache, resume, log,
) -> None:  # fmt: skip
    """Train an adapter on auxiliary data.

    RECIPE is a TOML file, or the name of a recipe that ships with vlad.

    \b
    vlad train uniadet --data visa --licence CC-BY-4.0 --out adapters/mine
    vlad train hftt --category hazelnut --licence CC0-1.0 --out adapters/nuts
    accelerate launch -m vlad train april_gan --data visa --licence CC-BY-4.0 --out adapters/mine
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    from vlad.adapters import is_plain_text
    from vlad.adapters.layouts import layout_of
    from vlad.backbones import DEFAULT, load_backbone
    from vlad.heads import Trained, load_head
    from vlad.system.tracking import tracking
    from vlad.training.adapter import train_adapter
    from vlad.training.checkpoint import open_folder
    from vlad.training.data import Reading
    from vlad.training.gather import load_data, seen_before
    from vlad.training.recipe import load_recipe

    if not is_plain_text(licence):
        raise TrainingError("--licence must be one line of text; give the licence of the data.")
    made_by = load_recipe(recipe, seed)
    folder = Path(out)
    from_text = layout_of(made_by.head).from_text
    check_given(
        made_by.name,
        from_text,
        of_images={
            "data": roots, "synthetic": synthetic, "hold-out": hold_out, "for-category": targets,
            "words": words, "image-size": image_size, "accumulate": accumulate > 1,
            "gradient-checkpointing": gradient_checkpointing, "cache": cache, "resume": resume,
        },
        of_texts={"category": categories, "bank": bank, "vocabulary": vocabulary},
    )  # fmt: skip
    open_folder(folder, resume)
    if from_text:
        from vlad.training.from_text import load_texts, train_from_text

        texts = load_texts(categories, bank, vocabulary)
        tracker = click.get_current_context().with_resource(tracking(log, folder))
        loaded = load_backbone(backbone or DEFAULT, device, dtype)
        adapter = train_from_text(made_by, loaded, texts, folder, licence=licence, tracker=tracker)
        say_written(adapter, backbone or DEFAULT, out)
        return
    if not (roots or synthetic):  # before the backbone is downloaded
        raise TrainingError("No training data: give --data or --synthetic.")
    # --dtype alone sets the precision, whatever accelerate was configured for
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision="no",
        gradient_accumulation_steps=accumulate,
        # a recipe may leave tensors of its head without a loss
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    main = accelerator.is_main_process
    quiet_open_clip()
    tracker = click.get_current_context().with_resource(tracking(log if main else None, folder))
    where = str(accelerator.device) if accelerator.num_processes > 1 else device
    loaded = load_backbone(backbone or DEFAULT, where, dtype)
    side = made_by.size_on(loaded.info, image_size)  # said before all images are checked
    reading = Reading(max_pixels, bits)
    head = load_head(made_by.head)
    data = load_data(
        roots,
        layout=layout,
        synthetic=synthetic,
        hold_out=hold_out,
        seed=made_by.seed,
        reading=reading,
        show=main,
        pairs=isinstance(head, Trained) and head.paired,
    )
    said = words_of(words, [*data.categories, *data.held_out])
    if main:
        for path, error in data.left_out.items():
            click.echo(shown(f"Left out {path}: {error}", keep="\n"), err=True)
        for target in targets:
            if target in data.categories:
                warnings.warn(
                    f"{target} is in the data; the adapter is not zero-shot there.", stacklevel=1
                )
        if same := seen_before(data):
            warnings.warn(
                f"held-out images are also in the data ({len(same)}, such as {same[0]}); their "
                "metrics are not zero-shot.",
                stacklevel=1,
            )
    try:
        adapter = train_adapter(
            made_by,
            loaded,
            data,
            folder,
            licence=licence,
            accelerator=accelerator,
            image_size=side,
            accumulate=accumulate,
            recompute=gradient_checkpointing,
            cache=cache and Path(cache),
            resume=resume,
            reading=reading,
            words=said,
            tracker=tracker,
        )
    except KeyboardInterrupt:
        if main:
            click.echo(
                f"The training so far is in {out}; repeat the command with --resume to continue.",
                err=True,
            )
        raise
    if main:
        say_written(adapter, backbone or DEFAULT, out)


def check_given(
    recipe: str, from_text: bool, of_images: Mapping[str, Any], of_texts: Mapping[str, Any]
) -> None:
    """Raise a TrainingError if an option does not apply to a recipe.

    Args:
        from_text: whether the recipe learns from texts.
        of_images, of_texts: option -> its value.
    """
    for name, value in (of_images if from_text else of_texts).items():
        if value:
            source = "texts" if from_text else "images"
            raise TrainingError(
                f"--{name} does not apply to the recipe {recipe}, which learns from {source}; "
                "leave it out."
            )


def say_written(adapter: Adapter, backbone: str, out: str) -> None:
    """Say where an adapter is, and how to use it."""
    click.echo(f"{len(adapter.tensors)} tensors written to {out}")
    click.echo(f"Use it with --backbone {backbone} --head {adapter.head} --adapter {out}")
