"""What the folder of a run holds."""

from vlad.system.workspace import Workspace

# what scores depend on, as vlad.runs.settings gathers it
SETTINGS = (
    *("vlad", "category", "backbone", "weights", "dtype", "runtime", "image_size", "banks"),
    *("prompts", "params", "protocol", "adapters", "bits", "roi", "references", "pool"),
    *("known_defects", "kinds", "seed", "quality", "tile", "overlap", "boxes", "guidance"),
)
# what images and folder they are of, and how maps are kept
OWN = ("heads", "score_direction", "map_ranges", "maps_cut", "map_format", "map_side", "root")
SAMPLING = "sampling"  # which frames of videos are scored
RUN = Workspace(
    "vlad run",
    "run.json",
    (*SETTINGS, *OWN, SAMPLING),
    (
        "joint.sha256",
        "scores.csv",
        "files.csv",
        "seen.jsonl",
        "reasons.jsonl",
        "reasons",
        "scores.parquet",
        "maps",
        "overlays",
        "calibration.json",
        "calibration",
        "holdout",
        "regions",
        "drift.json",
        "report.html",
        "events",
        "events.csv",
        "tracks.csv",
        "frames.jsonl",
        "thresholds.json",
        "clips",
        "normal_changes",
        "question.toml",
        "answers.jsonl",
    ),
)
