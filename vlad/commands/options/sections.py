"""Help pages in sections: input, model, decision, output."""

from __future__ import annotations

import click

SECTIONS = {
    "Input": (
        "--data", "--category", "--words",
        "--normal", "--defects", "--known-defects", "--k-shot", "--seed",
        "--seeds", "--corruptions", "--pool", "--boxes", "--boxes-model", "--layout", "--roi",
        "--negation", "--roi-ignore", "--tile", "--overlap",
        "--questions", "--templates", "--listed-order",
        "--max-pixels", "--bits", "--interval", "--every", "--fps", "--changes",
        "--frame-rate", "--duration", "--normal-footage", "--motion", "--segments", "--keyword",
    ),
    "Model": (
        "--detector", "--head", "--quality", "--backbone", "--bank", "--guide", "--ignore",
        "--directions",
        "--param", "--adapter", "--image-size", "--batch-size", "--device", "--dtype", "--runtime",
        "--cache",
        "--vlm", "--vlm-model", "--vlm-timeout", "--vlm-rate",
    ),
    "Decision": (
        "--threshold", "--calibration", "--false-alarms", "--suspects", "--holdout-normal",
        "--tolerance", "--fuse",
        "--confidence", "--map-threshold", "--min-area", "--mm-per-pixel", "--fail-on",
        "--alarms-per-hour", "--thresholds", "--begin-above", "--end-below", "--smooth", "--gap",
    ),
    "Output": (
        "--top", "--maps", "--clips", "--keep", "--out", "--resume", "--overwrite", "--explain",
        "--json",
        "--answers", "--webhook",
        "--webhook-secret", "--mqtt", "--mqtt-login", "--on-anomaly", "--review", "--log",
    ),
}  # fmt: skip


class SectionedCommand(click.Command):
    """A command with many options; those without a section come last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                records[param.opts[0]] = record
        for title, names in SECTIONS.items():
            if rows := [records.pop(name) for name in names if name in records]:
                with formatter.section(title):
                    formatter.write_dl(rows)
        with formatter.section("Other options"):
            formatter.write_dl(list(records.values()))
