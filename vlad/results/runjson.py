"""What the folder of a run holds."""

from vlad.system.workspace import Workspace

RUN = Workspace(
    "vlad run",
    "run.json",
    (
        "joint.sha256",
        "scores.csv",
        "files.csv",
        "scores.parquet",
        "maps",
        "overlays",
        "calibration.json",
        "calibration",
        "regions",
        "report.html",
    ),
)
