"""vlad demo: score and judge images that ship with vlad, offline."""

from __future__ import annotations

import click

from vlad.commands.options.option import option

K_SHOT = 4


@click.command()
@option("--out DIR", "Output folder.", default="vlad-demo")
def demo(out) -> None:
    """Run the hazelnut demo with the built-in backbone, offline."""
    from vlad.commands.eval import table
    from vlad.datasets import load_dataset
    from vlad.datasets.shots import draw_shots
    from vlad.demo import HAZELNUT
    from vlad.evaluation import Result
    from vlad.evaluation.measures import Measures
    from vlad.heads import load_head, protocol
    from vlad.results.runjson import RUN
    from vlad.results.verdicts import Rules, summary
    from vlad.runs.run import Settings, run
    from vlad.scoring.setup import Setup

    # only an earlier demo may be replaced
    again = RUN.holds(out, backbone="vlad-tiny", category="hazelnut")
    RUN.check(out, overwrite=again)
    setup = Setup("vlad-tiny", "cpu")
    data = load_dataset("mvtec", HAZELNUT)
    normals = data.train("hazelnut")
    references = draw_shots(normals, K_SHOT, seed=0)
    held_out = [sample for sample in normals if sample not in references]
    heads = {name: load_head(name) for name in ("winclip", "memory", "statistics")}
    test = data.test("hazelnut")
    measures = Measures(test)
    finished = run(
        setup.load_backbone(),
        heads,
        test,
        Settings(setup, "hazelnut", references, rules=Rules(held_out=held_out)),
        out,
        overwrite=again,
        on_scored=measures.add,
    )
    results = [
        Result("hazelnut", name, K_SHOT, 0, protocol(head), measures.of(name).metrics)
        for name, head in heads.items()
    ]
    click.echo(table(results))
    click.echo("statistics is the null baseline: colour, edges and texture, without a backbone.")
    assert finished.judged is not None  # there are rules
    click.echo(summary(finished.judged))
    click.echo(f"Report: {finished.report}")
