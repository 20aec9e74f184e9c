"""Options that choose frames of a video."""

from __future__ import annotations

import click

from vlad.commands.options.option import option, together

FPS = option(
    "--fps X",
    "Score at most X frames per second of a video.",
    type=click.FloatRange(min=0, min_open=True),
)
FRAME_RATE = option(
    "--frame-rate X",
    "Images per second in a folder of frames.  [default: 25]",
    type=click.FloatRange(min=0, min_open=True),
)
# the command gets them as `every`, `fps` and `changes`
sampling_options = together(
    option("--every N", "Score every N-th frame of a video.", type=click.IntRange(min=1)),
    FPS,
    option(
        "--changes PERCENT",
        "Score only frames that differ from the last scored by more than this: mean difference "
        "of brightness over 64×64 cells, 100 = from black to white.",
        type=click.FloatRange(min=0, max=100),
    ),
)
