"""vlad demo: score and judge images that ship with vlad, offline."""

from __future__ import annotations

from pathlib import Path

import click

from vlad.commands.options.option import option

K_SHOT = 4
# the separate passes of windows of winclip take most of the time, so one category shows them
HEADS = {
    "hazelnut": ("winclip", "memory", "statistics"),
    "cookie": ("memory", "statistics"),
}


@click.command()
@option("--out DIR", "Output folder.", default="vlad-demo")
def demo(out) -> None:
    """Run the demo with the built-in backbone, offline."""
    from vlad.commands.eval import table
    from vlad.datasets import load_dataset
    from vlad.datasets.shots import draw_shots
    from vlad.demo import COOKIE, HAZELNUT
    from vlad.evaluation import Result
    from vlad.evaluation.measures import Measures
    from vlad.heads import load_head, protocol
    from vlad.results.runjson import RUN
    from vlad.results.verdicts import Rules, summary
    from vlad.runs.run import Settings, run
    from vlad.scoring.setup import Setup

    folders = {folder.name: folder for folder in (HAZELNUT, COOKIE)}
    places = {category: Path(out) / category for category in folders}
    # only an earlier demo may be replaced
    again = {c: RUN.holds(to, backbone="vlad-tiny", category=c) for c, to in places.items()}
    for category, to in places.items():
        RUN.check(to, overwrite=again[category])
    setup = Setup("vlad-tiny", "cpu")
    backbone = setup.load_backbone()
    results, lines = [], []
    for category, folder in folders.items():
        data = load_dataset("mvtec", folder)
        normals = data.train(category)
        references = draw_shots(normals, K_SHOT, seed=0)
        held_out = [sample for sample in normals if sample not in references]
        heads = {name: load_head(name) for name in HEADS[category]}
        test = data.test(category)
        measures = Measures(test)
        finished = run(
            backbone,
            heads,
            test,
            Settings(setup, category, references, rules=Rules(held_out=held_out)),
            places[category],
            overwrite=again[category],
            on_scored=measures.add,
        )
        results += [
            Result(category, name, K_SHOT, 0, protocol(head), measures.of(name).metrics)
            for name, head in heads.items()
        ]
        assert finished.judged is not None  # there are rules
        lines += [f"{category}:", summary(finished.judged), f"Report: {finished.report}"]
    click.echo(table(results))
    click.echo("statistics is the null baseline: colour, edges and texture, without a backbone.")
    for line in lines:
        click.echo(line)
