"""Does an adapter generalise to sets it was not trained on? Leave-one-set-out, as Markdown.

    python benchmarks/leave_one_out.py --data DIR... --test DIR... --out runs/loo

For each set of --data, an adapter is trained on all others and measured on that set and those of
--test, beside an untrained head. Results already in --out are reused, so a stopped run resumes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

METRICS = {
    "image_auroc": "image AUROC",
    "image_ap": "AP",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "AP",
    "aupro": "AUPRO",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True, help="labelled sets")
    parser.add_argument("--test", nargs="*", default=[], help="further sets, only measured on")
    parser.add_argument("--head", default="uniadet", help="trained by the recipe of that name")
    parser.add_argument("--baseline", default="winclip", help="head that is not trained")
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    names = {root: Path(root).resolve().name for root in [*args.data, *args.test]}
    if len(set(names.values())) < len(names):
        parser.error("two sets have the same folder name")
    plain = {root: measured(args, root, args.baseline) for root in names}
    rows = []
    for left in args.data:
        adapter = args.out / f"without-{names[left]}"
        if not (adapter / "adapter.safetensors").is_file():
            train(args, [root for root in args.data if root != left], adapter)
        for root in (left, *args.test):
            trained = measured(args, root, args.head, adapter)
            rows.append([names[left], names[root], *cells(trained, plain[root])])
    heads = f"{args.head} / {args.baseline}"
    lines = [["left out", "measured on", *(f"{title}" for title in METRICS.values())], *rows]
    lines.insert(1, ["---", "---", *("---:" for _ in METRICS)])
    print(f"# Leave one set out\n\n{heads} on {args.backbone}, in percent, the higher one in bold.")
    sets = ", ".join(names[root] for root in args.data)
    print(f"{args.head} is trained on {sets}, without the set left out.\n")
    print("\n".join("| " + " | ".join(line) + " |" for line in lines))


def train(args: argparse.Namespace, roots: list[str], out: Path) -> None:
    """Train an adapter, or resume a stopped training."""
    data = [word for root in roots for word in ("--data", root)]
    resume = ["--resume"] if (out / "checkpoint.pt").is_file() else []
    vlad(
        "train", args.head, *data, "--backbone", args.backbone, "--device", args.device,
        "--licence", "as the data", "--cache", str(args.out / "features"), "--out", str(out),
        *resume,
    )  # fmt: skip


def measured(
    args: argparse.Namespace, root: str, head: str, adapter: Path | None = None
) -> dict[str, float]:
    """Mean over the categories of a set; kept as JSON beside the adapters."""
    by = adapter.name if adapter else "zero-shot"
    file = args.out / f"{head}-{by}-on-{Path(root).resolve().name}.json"
    if not file.is_file():
        more = ["--adapter", str(adapter)] if adapter else []
        vlad(
            "eval", root, "--head", head, "--backbone", args.backbone, "--device", args.device,
            "--json", str(file), *more,
        )  # fmt: skip
    results = [result["metrics"] for result in json.loads(file.read_text())["results"]]
    known = {name: [m[name] for m in results if m.get(name) is not None] for name in METRICS}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def cells(trained: dict[str, float], plain: dict[str, float]) -> list[str]:
    """ "trained / plain" of each metric, the higher one in bold."""
    found = []
    for name in METRICS:
        if name not in trained:
            found.append("–")
            continue
        pair = [f"{100 * figures[name]:.1f}" for figures in (trained, plain)]
        best = int(plain[name] > trained[name])
        found.append(" / ".join(f"**{x}**" if i == best else x for i, x in enumerate(pair)))
    return found


def vlad(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "vlad", *words], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
