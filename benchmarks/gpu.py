"""One GPU in one script: exactness, speed and memory of everything, in about eight minutes.

    python benchmarks/gpu.py [--device cuda] [--minutes 8] [--sections NAME ...] [--heads NAME ...]
        [--write]

It compares every head's maps on the device with those on the CPU (float32 without TF32: at most
1e-3 of the map; bfloat16 is stated), and times the backbone, extraction, heads, files, memory,
MuSc, training steps and the compiled backbone beside the device's own matrix product and bandwidth.
It prints one table; `--write` puts it into docs/performance.md. When the time is over, it says what
it left out. On a CPU the sizes are tiny: that shows that it runs, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

import gpu_compiled
import gpu_exact
import gpu_many
import gpu_speed
import torch
from gpu_setup import FAILED, Row, Setup, said
from performance import write
from timing import table

from vlad.heads import head_names
from vlad.system import machine
from vlad.system.torch_state import own_state

HEADS = list(head_names())
SECTIONS = {
    "device": gpu_speed.device,
    "exactness": gpu_exact.exactness,
    "extraction": gpu_speed.extraction,
    "heads": gpu_speed.heads,
    "files": gpu_speed.files,
    "memory": gpu_many.memory,
    "musc": gpu_many.musc,
    "training": gpu_many.training,
    # last: a capture that fails leaves torch's random numbers on the device unusable
    "compiled": gpu_compiled.compiled,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin nothing after that")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    options = parser.parse_args()
    setup = Setup(torch.device(options.device), tuple(options.heads))
    if options.write and not setup.on_gpu:
        parser.error("--write needs a GPU: figures of tiny sizes on a CPU mean nothing")
    if options.write and (len(options.sections), len(options.heads)) != (len(SECTIONS), len(HEADS)):
        parser.error("--write replaces the whole table, so it goes without --sections and --heads")

    with own_state():  # no TF32
        rows, left = measured(setup, options.sections, options.minutes)
    found = machine.machine(setup.device)
    parts = [
        f"{found['device']}, {found['cpu']}; vlad {found['vlad']}, torch {found['torch']}; "
        f"{time.strftime('%Y-%m-%d', time.gmtime())}",
        f"{setup.model}, batches of {setup.batch}",
        table(rows, ["case", "figure", "unit", "beside"]),
    ]
    if left:
        parts.append(f"Left out, after {options.minutes:g} minutes or errors: {', '.join(left)}.")
    printed = "\n\n".join(parts)
    print(printed)
    if options.write:
        write("gpu", printed)
    wrong = [row[0] for row in rows if "ABOVE" in row[3]]
    failed = [row[0] for row in rows if row[1] == FAILED]
    if wrong or failed:
        raise SystemExit(
            f"Further from the CPU than {gpu_exact.LIMIT:g}: {', '.join(wrong) or 'nothing'}; "
            f"failed: {', '.join(failed) or 'nothing'}."
        )


def measured(setup: Setup, names: list[str], minutes: float) -> tuple[list[Row], list[str]]:
    """The rows of the sections, and those that there was no time for, whole or in part."""
    torch.manual_seed(0)  # of random adapters
    rows: list[Row] = []
    left: list[str] = []
    until = time.monotonic() + 60 * minutes
    for name in names:
        if time.monotonic() > until:
            left.append(name)
            continue
        try:
            setup.forget_peak()
            for row in SECTIONS[name](setup):
                rows.append(row)
                print(*row, file=sys.stderr, flush=True)
                if time.monotonic() > until:
                    left.append(f"what remained of {name}")
                    break
        except (Exception, KeyboardInterrupt) as error:  # the rows of the others are worth having
            traceback.print_exc()
            rows.append((name, FAILED, "", said(error)))
            left.append(f"what remained of {name}")
            if isinstance(error, KeyboardInterrupt):
                until = 0.0
    return rows, left


if __name__ == "__main__":
    main()
