"""Run benchmarks and write their output into docs/performance.md.

    python benchmarks/performance.py [NAME ...] [--anomalib .bench-anomalib/bin/python]
        [--weights DIR]

Each name is one part of the page; without names all are measured again, which takes about three
hours on two idle cores, most of them for "true-size". A part that fails leaves the page unchanged.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

from vlad.demo import HAZELNUT

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
LARGE = "--models ViT-L-14-336 --batch-size 2 --repeats 3 --count 8"
PARTS = {
    "extraction": "extraction.py {images} --models ViT-B-16-plus-240 --repeats 9",
    "extraction-bfloat16": (
        "extraction.py {images} --models ViT-B-16-plus-240 --repeats 9 --dtype bfloat16"
    ),
    "extraction-large": f"extraction.py {{images}} {LARGE}",
    "extraction-large-bfloat16": f"extraction.py {{images}} {LARGE} --dtype bfloat16",
    "winclip": "winclip.py --anomalib {anomalib} --rounds 11",
    "floors": "floors.py --repeats 5",
    "musc": "musc.py --rounds 5",
    "musc-bfloat16": "musc.py --rounds 5 --dtype bfloat16",
    "memory": "memory.py --rounds 5",
    "memory-options": "memory_options.py --rounds 5",
    "text": "text.py",
    "start": "start.py",
    "one-pass": "one_pass.py --backbone ViT-B-16-plus-240 --images 4 --batch-size 4 --rounds 3",
    "one-pass-tiny": "one_pass.py",
    "one-pass-zero-shot": "one_pass.py --zero-shot --images 4 --batch-size 4",
    "one-pass-alone": (
        "one_pass.py --alone --backbone ViT-B-16-plus-240 --images 4 --batch-size 4 --rounds 2"
    ),
    "anovl": "anovl.py",
    "runtimes": "runtimes.py --rounds 7",
    "true-size": "true_size.py --weights {weights} --results {weights}/{commit}.jsonl",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--anomalib", default="python", help="interpreter of its environment")
    parser.add_argument("--weights", default=".bench-weights", help="folder for 10 GB of weights")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {min(unknown)}; choose from {', '.join(PARTS)}")
    commit = subprocess.check_output(("git", "rev-parse", "HEAD"), cwd=HERE, text=True).strip()
    failed = []
    for name in options.parts or PARTS:
        arguments = shlex.split(PARTS[name])
        places = {
            "images": str(HAZELNUT),
            "anomalib": options.anomalib,
            "weights": str(Path(options.weights).absolute()),
            "commit": commit,  # a run that was stopped goes on, one of other code begins
        }
        found = subprocess.run(
            [sys.executable, str(HERE / arguments[0])]
            + [word.format(**places) for word in arguments[1:]],
            stdout=subprocess.PIPE,
            text=True,
        )
        if found.returncode:
            failed.append(name)
        else:
            write(name, found.stdout)
    if failed:
        raise SystemExit(f"Not measured: {', '.join(failed)}; see above.")


def write(name: str, printed: str) -> None:
    """Put a benchmark's output between the marks of its part."""
    page = PAGE.read_text()
    marks = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    if not marks.search(page):
        raise SystemExit(f"{PAGE} has no part {name}; add its marks to the page.")
    PAGE.write_text(marks.sub(lambda found: f"{found[1]}\n{printed.strip()}\n{found[2]}", page))


if __name__ == "__main__":
    main()
