"""vlad: zero- and few-shot visual anomaly detection with vision-language models.

    import vlad
    detector = vlad.load("memory").fit("normals/")
    scores = detector.score("photo.png")
    scores.image_score, scores.anomaly_map
    detector.calibrate("more-normals/").predict("photo.png").anomalous

Importing vlad is fast and downloads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Calibration",
    "Detector",
    "FeatureSpec",
    "Features",
    "ImageScores",
    "ScoredImage",
    "Scores",
    "TextFeatures",
    "Verdicts",
    "VladError",
    "__version__",
    "load",
    "load_backbone",
    "load_bank",
]

if TYPE_CHECKING:
    from vlad.backbones import load_backbone
    from vlad.calibration import Calibration
    from vlad.detector import Detector, load
    from vlad.errors import VladError
    from vlad.prompts import load_bank
    from vlad.report.scores import ImageScores
    from vlad.scoring.given import ScoredImage
    from vlad.types import Features, FeatureSpec, Scores, TextFeatures, Verdicts
else:
    _HOMES = {
        "Calibration": "vlad.calibration",
        "Detector": "vlad.detector",
        "ImageScores": "vlad.report.scores",
        "ScoredImage": "vlad.scoring.given",
        "VladError": "vlad.errors",
        "load": "vlad.detector",
        "load_backbone": "vlad.backbones",
        "load_bank": "vlad.prompts",
    }

    def __getattr__(name: str):
        if name not in __all__:  # import submodules by their own names
            raise AttributeError(f"module 'vlad' has no attribute {name!r}")
        return getattr(import_module(_HOMES.get(name, "vlad.types")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
