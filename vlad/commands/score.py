"""vlad score: pictures in; scores, maps, overlays and a report out."""

from __future__ import annotations

import click

from vlad.commands.judging import check_judging, judging_options, rules_of
from vlad.commands.options import common_options, make_heads, open_tower


class ScoreCommand(click.Command):
    """Lets `--normal` take several files, as a shell expands them, once pictures were named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        pictures = False  # whether a PATH was named
        run = 0  # bare words since the last --normal, its own value included
        for before, arg in zip(["", *args], args, strict=False):
            if arg.startswith("-"):
                run = 0
            elif before == "--normal":
                run = 1
            elif run:
                run += 1
                if pictures:
                    spread.append("--normal")
                elif run == 3:
                    from vlad.errors import InputError

                    raise InputError(
                        "Several files after --normal need the pictures to score before it; write "
                        "vlad score PATH... --normal FILES."
                    )
            elif not (before.startswith("-") and self._takes_value(before)):
                pictures = True
            spread.append(arg)
        return super().parse_args(ctx, spread)

    def _takes_value(self, option: str) -> bool:
        return any(
            option in p.opts for p in self.params if isinstance(p, click.Option) and not p.is_flag
        )


@click.command(cls=ScoreCommand)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--category", metavar="WORDS", help="What the pictures show, as in hazelnut.")
@click.option(
    "--normal",
    "normals",
    multiple=True,
    metavar="DIR|FILES",
    help="Normal pictures to compare with; may be repeated.",
)
@click.option(
    "--k-shot",
    type=click.IntRange(min=1),
    metavar="K",
    help="Draw K of the normal pictures.  [default: all of them]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of that draw."
)
@click.option(
    "--head",
    metavar="NAMES",
    help="One or several heads, as in winclip,memory.  "
    "[default: memory with --normal, winclip without]",
)
@common_options
@click.option("--out", required=True, metavar="DIR", help="Folder for everything that is written.")
@click.option(
    "--maps",
    "map_format",
    type=click.Choice(["png", "npy"]),
    default="png",
    show_default=True,
    help="Anomaly maps as 16-bit PNG or float32 npy.",
)
@judging_options
@click.option("--resume", is_flag=True, help="Continue a stopped run; nothing is scored twice.")
@click.option("--overwrite", is_flag=True, help="Delete the run that is in the folder first.")
@click.option("--fail", is_flag=True, help="Exit with 1 if any picture could not be scored.")
def score(
    paths,
    category,
    normals,
    k_shot,
    seed,
    head,
    common,
    out,
    map_format,
    judging,
    resume,
    overwrite,
    fail,
) -> None:
    """Score pictures: files, folders, patterns, or a CSV manifest with a column `path`.

    \b
    vlad score parts/ --category hazelnut --out runs/parts
    vlad score parts/ --normal good/ --k-shot 4 --head memory --out runs/parts
    vlad score parts/ --normal good/ --threshold auto --out runs/parts
    """
    from functools import partial
    from pathlib import Path

    from vlad.datasets import list_samples
    from vlad.errors import InputError
    from vlad.heads import is_transductive
    from vlad.images import read_image
    from vlad.judging import summary
    from vlad.prompts import load_bank
    from vlad.run import Settings, run
    from vlad.scoring import draw_shots
    from vlad.sinks import check_out, is_run

    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; leave one out.")
    tiling = common.tiling
    check_out(out, resume=resume, overwrite=overwrite)
    # what an earlier run wrote below the pictures is no input
    written = Path(out).resolve()
    samples = [s for s in list_samples(paths) if written not in s.path.resolve().parents]
    if not samples:
        raise InputError(f"All these pictures lie in {out}, which is written to; choose another.")
    if k_shot and not normals:
        raise InputError("--k-shot draws from normal pictures; name them with --normal.")
    heads = make_heads(head or ("memory" if normals else "winclip"), common)
    check_judging(judging, heads)
    normal = list_samples(normals) if normals else []
    fitted = any(made.normals != "unused" for made in heads.values())
    if judging.finds_threshold and normals and not (k_shot and fitted):
        # half of them for the heads, and half to find the threshold from
        k_shot = (len(normal) + 1) // 2 if fitted else 0
    references = draw_shots(normal, k_shot, seed)
    for name, made in heads.items():
        if made.normals == "needed" and not references:
            raise InputError(f"Head {name} compares with normal pictures; name them with --normal.")
    if normals and not fitted and not judging.finds_threshold:
        raise InputError(
            f"No head here has use for normal pictures ({', '.join(heads)}); leave --normal out, "
            "or add a head such as memory."
        )
    if common.bank:
        load_bank(common.bank)
    open_image = partial(read_image, max_pixels=common.max_pixels, bits=common.bits)
    shown = set(references)
    held_out = [sample for sample in normal if sample not in shown]
    rules = rules_of(judging, heads, held_out, len(samples))
    settings = Settings(
        category,
        common.bank,
        common.image_size,
        common.batch_size,
        references,
        seed,
        map_format,
        common.bits,
        rules,
        tiling,
    )
    tower = open_tower(common)
    try:
        result = run(
            tower, heads, samples, settings, out, open_image, resume=resume, overwrite=overwrite
        )
    except KeyboardInterrupt:
        kept = f" Finished rows are kept in {out}; add --resume to continue."
        click.echo("Stopped." + (kept if is_run(out) else ""), err=True)
        raise SystemExit(130) from None
    for name, made in heads.items():
        if is_transductive(made):
            click.echo(
                f"Scores of {name} are transductive: they depend on all pictures of the run."
            )
    if result.judged:
        click.echo(summary(result.judged))
    done = f"{len(result.rows) - result.failed} pictures scored"
    if result.failed:
        done += f", {result.failed} failed (see the column error)"
    click.echo(f"{done}: {result.folder.scores_csv}\nReport: {result.report}")
    if fail and result.failed:
        raise SystemExit(1)
