"""vlad: zero- and few-shot visual anomaly detection with vision-language models.

    import vlad
    detector = vlad.load("memory").fit("normals/")
    scores = detector.score("photo.png")
    scores.image_score, scores.anomaly_map
    detector.calibrate("more-normals/").predict("photo.png").anomalous

Importing vlad loads nothing heavy and downloads nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "Calibration": "vlad.calibration",
    "Detector": "vlad.detector",
    "load": "vlad.detector",
    "load_bank": "vlad.prompts",
    "load_backbone": "vlad.backbones",
    "Features": "vlad.types",
    "FeatureSpec": "vlad.types",
    "Scores": "vlad.types",
    "TextFeatures": "vlad.types",
    "Verdicts": "vlad.types",
    "VladError": "vlad.errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'vlad' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
