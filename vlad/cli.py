"""The `vlad` command. Each verb has its own module, which imports nothing slow at the top."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click

from vlad import __version__
from vlad.commands.adapters import adapters
from vlad.commands.ask import ask
from vlad.commands.backbones import backbones
from vlad.commands.bench import bench
from vlad.commands.calibrate import calibrate
from vlad.commands.captions import captions
from vlad.commands.catalogue import heads
from vlad.commands.choose import choose
from vlad.commands.completion import completion
from vlad.commands.convert import convert
from vlad.commands.demo import demo
from vlad.commands.detector import detector
from vlad.commands.diff import diff
from vlad.commands.doctor import doctor
from vlad.commands.draft import draft
from vlad.commands.eval import evaluate
from vlad.commands.explain import explain
from vlad.commands.export import export
from vlad.commands.fit import fit
from vlad.commands.hub import pull_adapter, pull_detector, push_adapter, push_detector
from vlad.commands.measure import measure
from vlad.commands.prompts import prompts
from vlad.commands.reproduce import reproduce
from vlad.commands.review import review
from vlad.commands.score import score
from vlad.commands.serve import serve
from vlad.commands.synth import synth
from vlad.commands.train import train
from vlad.commands.video import video
from vlad.commands.watch import watch
from vlad.errors import VladError
from vlad.system.allocator import keep_freed_memory
from vlad.system.text import shown

_WHOLE = "\n"  # sentences are never cut

# releases of click before 8.2 print the help themselves
NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())


class Commands(click.Group):
    """Turns errors that users can fix into one sentence and exit code 2."""

    def main(self, *args, **kwargs):
        """Run the command as a program; always ends with SystemExit."""
        warnings.showwarning = _show_warning
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            # a file name that the terminal or log cannot encode must not end a command
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except VladError as error:
            _end(_with_options(shown(error, keep=_WHOLE), self), 2)
        except NO_ARGUMENTS as error:  # a group alone shows its help
            error.show()
            code = error.exit_code
        except click.ClickException as error:  # an unknown option, a value out of its range, ...
            where = getattr(error, "ctx", None)
            words = _elsewhere(error, self) or error.format_message().rstrip(".")
            _end(f"{words}; see `{where.command_path if where else 'vlad'} --help`.", 2)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EPIPE):
                raise
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, what is buffered cannot be written
            _end(f"cannot write the output ({error.strerror}); write it elsewhere.", 2)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Stopped.", err=True)
            code = 130
        sys.exit(code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order people need them


def _with_options(sentence: str, group: click.Group) -> str:
    """Write the arguments in a sentence for Python, such as `k_shot`, as options."""
    names = {f"`{opt[2:].replace('-', '_')}`": opt for opt in _options(group)}
    return re.sub(r"`\w+`", lambda found: names.get(found[0], found[0]), sentence)


def _elsewhere(error: click.ClickException, group: click.Group) -> str:
    """What to say of an option that one other command has; "" of any other error."""
    if not isinstance(error, click.NoSuchOption):
        return ""
    name = error.option_name
    having = [words for words, command in _leaves(group, "vlad") if name in _options(command)]
    return f"No such option '{name}' here, but {having[0]} has it" if len(having) == 1 else ""


def _leaves(command: click.Command, words: str) -> Iterator[tuple[str, click.Command]]:
    """The commands in a group, each with the words that call it."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    for verb, inner in command.commands.items():
        yield from _leaves(inner, f"{words} {verb}")


def _options(command: click.Command) -> Iterator[str]:
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        yield from _options(inner)
    for param in command.params:
        yield from (opt for opt in param.opts if opt.startswith("--"))


def _end(sentence: str, code: int) -> None:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(code)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    # libraries warn their developers; only vlad's own warnings are for its users
    if Path(filename).is_relative_to(Path(__file__).parent):
        print(f"Warning: {shown(message, keep=_WHOLE)}", file=sys.stderr)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vlad")
def main() -> None:
    """Find defects in images without a training set."""
    keep_freed_memory()


main.add_command(score)
main.add_command(explain)
main.add_command(choose)
main.add_command(ask)
main.add_command(watch)
main.add_command(video)
main.add_command(captions)
main.add_command(measure)
main.add_command(calibrate)
main.add_command(diff)
main.add_command(convert)
main.add_command(fit)
main.add_command(detector)
main.add_command(review)
main.add_command(serve)
main.add_command(evaluate)
main.add_command(bench)
main.add_command(reproduce)
main.add_command(train)
main.add_command(export)
main.add_command(demo)
main.add_command(synth)
main.add_command(prompts)
main.add_command(adapters)
main.add_command(heads)
main.add_command(backbones)
main.add_command(doctor)
main.add_command(completion)

prompts.add_command(draft)

for group, push, pull in (
    (detector, push_detector, pull_detector),
    (adapters, push_adapter, pull_adapter),
):
    group.add_command(push)
    group.add_command(pull)
