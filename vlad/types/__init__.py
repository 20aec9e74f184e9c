"""The values that travel between the parts of vlad: samples, features, scores.

Shapes are written with B images, h·w patches, C channels of the backbone, D dimensions of the
joint image-text space, S pixels a side of the backbone's input.
"""

from vlad.types.backbones import (
    NATIVE,
    Activation,
    BackboneInfo,
    Capability,
    Interpolation,
    Layer,
    Parts,
    PosEmbedResize,
)
from vlad.types.features import (
    Crops,
    Features,
    FeatureSpec,
    ImageContext,
    ImagePrompts,
    PatchOutput,
    Resize,
    Stream,
    TextFeatures,
    TextSpec,
)
from vlad.types.reasons import (
    FeatureShift,
    KnownKind,
    NearestPatch,
    NearestSentence,
    NearestState,
    Reason,
    Residual,
)
from vlad.types.samples import Box, Sample, Scores, Seen, Verdicts

__all__ = [
    "NATIVE",
    "Activation",
    "BackboneInfo",
    "Box",
    "Capability",
    "Crops",
    "FeatureShift",
    "FeatureSpec",
    "Features",
    "ImageContext",
    "ImagePrompts",
    "Interpolation",
    "KnownKind",
    "Layer",
    "NearestPatch",
    "NearestSentence",
    "NearestState",
    "Parts",
    "PatchOutput",
    "PosEmbedResize",
    "Reason",
    "Residual",
    "Resize",
    "Sample",
    "Scores",
    "Seen",
    "Stream",
    "TextFeatures",
    "TextSpec",
    "Verdicts",
]
