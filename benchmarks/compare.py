"""What became slower since a commit: the benchmarks of both trees in turn.

    python benchmarks/compare.py BASE [--parts memory start ...] [--rounds 3]

BASE is checked out beside this tree; every round runs each part on both, every other round in
reverse order. Compared are medians over rounds of the column named in PARTS: ratios to an
alternative in the same run where there is one, so that what else the machine does matters little.
Ends with 1 if a row is slower by more than 5 %, or if this tree does not measure a part. Rows and
parts that one tree lacks are named; rows that others are ratios to are left out.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from timing import machine, table

from vlad.demo import HAZELNUT

TREE = Path(__file__).resolve().parents[1]
SLOWER = 0.05
# part -> (command, column, whether more is faster)
PARTS = {
    "extraction": (
        "extraction.py {images} --models ViT-B-32 --batch-size 4 --count 8 --repeats 5",
        "of open_clip's",
        True,
    ),
    "memory": ("memory.py --rounds 5 --coreset-steps 0", "of the product", True),
    "musc": ("musc.py --rounds 5 --images 0", "× the plain loop", True),
    "one-pass": ("one_pass.py --images 8 --rounds 3", "of its passes", False),
    "text": ("text.py", "times faster", True),
    "start": ("start.py", "processor, s", False),
}
Rows = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", metavar="BASE")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        base = Path(work) / "base"
        git("worktree", "add", "--detach", str(base), options.base)
        try:
            found = measured({"base": base, "now": TREE}, options.parts, options.rounds)
        finally:
            git("worktree", "remove", "--force", str(base))
    rows, slower = compared(found)
    print(f"{machine()}\n\nSince {options.base}, medians of {options.rounds} rounds\n")
    print(table(rows, ["", "then", "now", "speed now / then"]))
    for part, tree in sorted(found):
        if not any(found[part, tree]):
            print(f"\n{part}: not measured on {tree}, whose benchmark is missing or failed")
    if wrong := [*slower, *broken(found)]:
        raise SystemExit(f"Slower by more than {SLOWER:.0%}, or not measured: {', '.join(wrong)}")


def measured(
    trees: dict[str, Path], parts: list[str], rounds: int
) -> dict[tuple[str, str], list[Rows]]:
    """(part, tree) -> the rows of each round."""
    found: dict[tuple[str, str], list[Rows]] = {
        (part, tree): [] for part in parts for tree in trees
    }
    for turn in range(rounds):
        for part in parts:
            for tree in reversed(trees) if turn % 2 else trees:
                if (rows := run(trees[tree], part)) is not None:
                    found[part, tree].append(rows)
    return found


def run(tree: Path, part: str) -> Rows | None:
    """The rows of a part as a tree's own benchmark prints them; None if it has none or fails."""
    command, column, _ = PARTS[part]
    script, *words = shlex.split(command)
    if not (tree / "benchmarks" / script).exists():
        return None
    done = subprocess.run(
        [sys.executable, script, *(word.format(images=HAZELNUT) for word in words)],
        cwd=tree / "benchmarks",
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        text=True,
    )
    return None if done.returncode else read(done.stdout, column)


def read(printed: str, column: str) -> Rows:
    """label -> value of the named column of the printed tables, where it is a number."""
    rows: Rows = {}
    place = None
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            place = None
        elif place is None:
            place = cells.index(column) if column in cells else -1
        elif place >= 0:
            try:
                rows[cells[0]] = float(cells[place].split()[0])
            except (ValueError, IndexError):  # a rule, or a row without this figure
                continue
    return rows


def compared(found: dict[tuple[str, str], list[Rows]]) -> tuple[list[list[object]], list[str]]:
    """Rows for a table, and the names of what became slower."""
    rows: list[list[object]] = []
    slower = []
    for part in dict.fromkeys(part for part, _ in found):
        more_is_faster = PARTS[part][2]
        values = {tree: medians(found[part, tree]) for tree in ("base", "now")}
        for label in dict.fromkeys([*values["base"], *values["now"]]):
            then, now = (values[tree].get(label) for tree in ("base", "now"))
            name = f"{part}: {label}"
            if then == now == 1:  # what the other rows are ratios to
                continue
            if then is None or now is None:
                rows.append([name, *("–" if x is None else x for x in (then, now)), "–"])
                continue
            speed = now / then if more_is_faster else then / now
            rows.append([name, then, now, speed])
            if speed < 1 / (1 + SLOWER):
                slower.append(name)
    return rows, slower


def broken(found: dict[tuple[str, str], list[Rows]]) -> list[str]:
    """The parts that this tree does not measure."""
    return [part for (part, tree), rounds in found.items() if tree == "now" and not any(rounds)]


def medians(rounds: list[Rows]) -> Rows:
    values = defaultdict(list)
    for rows in rounds:
        for label, value in rows.items():
            values[label].append(value)
    return {label: statistics.median(each) for label, each in values.items()}


def git(*words: str) -> None:
    subprocess.run(["git", "-C", str(TREE), *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
