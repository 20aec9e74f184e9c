"""The `vlad` command. Each verb lives in its own module, which imports only click at first."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import click

from vlad import __version__
from vlad.commands.adapters import adapters
from vlad.commands.bench import bench
from vlad.commands.calibrate import calibrate
from vlad.commands.demo import demo
from vlad.commands.eval import evaluate
from vlad.commands.fit import fit
from vlad.commands.prompts import prompts
from vlad.commands.score import score
from vlad.commands.serve import serve
from vlad.commands.synth import synth
from vlad.commands.train import train
from vlad.errors import VladError
from vlad.journal import shown

_WHOLE = "\n"  # sentences are never cut


class Commands(click.Group):
    """Turns what users can mend into one sentence and exit code 2."""

    def invoke(self, ctx: click.Context):
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except VladError as error:
            click.echo(f"Error: {shown(error, keep=_WHOLE)}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            ctx.exit(130)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which people meet them


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    # libraries warn their developers; only what vlad says is meant for its users
    if Path(filename).is_relative_to(Path(__file__).parent):
        print(f"Warning: {shown(message, keep=_WHOLE)}", file=sys.stderr)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vlad")
def main() -> None:
    """Find what is wrong in pictures, before anyone has collected a training set."""


main.add_command(score)
main.add_command(calibrate)
main.add_command(fit)
main.add_command(serve)
main.add_command(evaluate)
main.add_command(bench)
main.add_command(train)
main.add_command(demo)
main.add_command(synth)
main.add_command(prompts)
main.add_command(adapters)
