"""vlad bench: heads × data sets × shots × seeds in one table."""

from __future__ import annotations

import click

from vlad.commands.options import common_options, layout_option, make_heads, open_tower


def _read_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Options in a TOML file stand where none are given on the command line."""
    if value is None:
        return
    from pathlib import Path

    from vlad.errors import InputError
    from vlad.resources import read_toml

    try:
        table = read_toml(Path(value))
    except OSError as error:
        raise InputError(f"{value} cannot be read ({error.strerror}); correct --config.") from None
    except ValueError as error:
        raise InputError(f"{value} is not a TOML file in UTF-8 ({error}); correct it.") from None
    names = {(p.opts[0].lstrip("-") if p.opts else p.name): p.name for p in ctx.command.params}
    names["data"] = names.pop("roots")
    names.pop("config")
    if unknown := sorted(set(table) - set(names)):
        raise InputError(f"{value} has the key {unknown[0]}; use {', '.join(sorted(names))}.")
    ctx.default_map = {names[key]: setting for key, setting in table.items()}


@click.command()
@click.argument("roots", metavar="DIR...", nargs=-1, required=True)
@click.option(
    "--config",
    metavar="TOML",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="Options from a file, as in data = ['mvtec'], head = 'winclip,memory', k-shot = '1,4'.",
)
@click.option("--head", default="winclip,memory", show_default=True, metavar="NAMES")
@click.option("--k-shot", default="0,1,2,4", show_default=True, metavar="K,K,...")
@click.option("--seeds", default="0,1,2", show_default=True, metavar="N,N,...")
@layout_option
@common_options
@click.option("--out", required=True, metavar="DIR", help="A bench that is there is continued.")
def bench(roots, head, k_shot, seeds, layout, common, out) -> None:
    """Compare heads on labelled data sets: Parquet, Markdown and HTML.

    \b
    vlad bench mvtec visa --head winclip,memory,musc --k-shot 0,1,4 --out runs/bench
    """
    from dataclasses import asdict
    from pathlib import Path

    from vlad.bench import bench as run_bench
    from vlad.datasets import load_dataset
    from vlad.errors import InputError

    tiling = common.tiling
    shots, draws = _numbers("--k-shot", k_shot), _numbers("--seeds", seeds)
    data = {}
    for root in roots:
        name = Path(root).resolve().name
        if name in data:
            raise InputError(f"Two data sets are called {name}; rename the folder of one.")
        data[name] = load_dataset(layout, root)
    make_heads(head, common)
    tower = open_tower(common)
    settings = {
        "data": {name: str(root) for name, root in zip(data, roots, strict=True)},
        "layout": layout,
        "head": head,
        "k_shot": shots,
        "seeds": draws,
        **asdict(common),
        "overlap": None if tiling.tile is None else tiling.overlap,
        "backbone": tower.info.name,
        "weights": tower.fingerprint[:16],
    }
    rows = run_bench(
        tower,
        data,
        lambda: make_heads(head, common),
        shots,
        draws,
        out,
        settings,
        **common.measuring,
    )
    left_out = sum(row["left_out"] for row in rows)
    click.echo(f"{len(rows)} results{f', {left_out} pictures left out' if left_out else ''}")
    click.echo(f"Tables: {Path(out) / 'bench.md'}, {Path(out) / 'bench.html'}")


def _numbers(option: str, text: str) -> list[int]:
    from vlad.errors import InputError

    try:
        found = [int(word) for word in str(text).split(",")]
    except ValueError:
        found = [-1]
    if min(found) < 0 or len(set(found)) < len(found):
        raise InputError(f"{option} {text} does not name different numbers; write it as 0,1,4.")
    return found
