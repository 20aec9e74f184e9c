"""Reasons and explanations in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlad.prompts import Prompts
from vlad.reasons.references import References
from vlad.reasons.regions import place_of
from vlad.system.text import shown
from vlad.types.reasons import (
    FeatureShift,
    KnownKind,
    NearestPatch,
    NearestSentence,
    Reason,
    Residual,
)

if TYPE_CHECKING:
    from vlad.reasons.explanation import Explanation

NEAR = 2  # cells, in any direction, within which two places are the same
LISTED = 5  # regions that the text has


def sentence(reason: Reason, references: References, prompts: Prompts | None) -> str:
    """One reason in plain words, without a full stop."""
    if isinstance(reason, NearestPatch):
        return _nearest(reason, references)
    if isinstance(reason, NearestSentence):
        said = f"{reason.side} sentence {reason.index}"
        if prompts is not None:
            said = f'{reason.side}: "{getattr(prompts, reason.side)[reason.index]}"'
        return f"{said}, cosine {reason.similarity:.3f}, {percent(reason.weight)} of that side"
    if isinstance(reason, FeatureShift):
        way = "up" if reason.sigmas > 0 else "down"
        return f"{reason.feature} {abs(reason.sigmas):.1f} standard deviations {way}"
    if isinstance(reason, KnownKind):
        how = "nearer to" if reason.distance < reason.normal else "not nearer to"
        return (
            f"{how} the known defect {shown(reason.kind)} ({reason.distance:.3f}) than to normal "
            f"images ({reason.normal:.3f})"
        )
    assert isinstance(reason, Residual)
    return (
        f"{percent(reason.share)} of its worst patch is outside the {reason.components} directions "
        "of normal patches"
    )


def described(explanation: Explanation) -> str:
    """An explanation in lines: the image, its regions, their reasons, and the note."""
    regions = explanation.regions
    lines = [f"{shown(explanation.name)}: {explanation.head} {explanation.image_score:.4g}"]
    for number, region in enumerate(regions[:LISTED], start=1):
        share = "" if region.share is None else f", {percent(region.share)} of the score"
        lines.append(
            f"  {number}. {region.place}: {percent(region.area)} of the image{share}, map up to "
            f"{region.score:.4g}"
        )
        lines += [f"     {text}" for text in region.texts]
        if region.without is not None:
            lines.append(f"     if it were normal, the image would score {region.without:.4g}")
        if region.reference_note:
            lines.append(f"     {shown(region.reference_note)}")
    if len(regions) > LISTED:
        lines.append(f"  and {len(regions) - LISTED} smaller regions")
    if explanation.rest is not None and regions:
        lines.append(f"  {percent(explanation.rest)} of the score is outside these regions.")
    return "\n".join([*lines, f"  {explanation.note}"])


def percent(share: float) -> str:
    """A share as a percentage with two digits."""
    digits = 1 if 0 < abs(share) < 0.1 else 0
    return f"{100 * share:.{digits}f} %"


def _nearest(reason: NearestPatch, references: References) -> str:
    place = "" if reason.cell is None else place_of(*references.at(reason.cell))
    if reason.cell is not None:
        apart = max(abs(a - b) for a, b in zip(reason.cell, reason.patch, strict=True))
        place = "the same place" if apart <= NEAR else f"{place}, {apart} patches away"
    if reason.cell is None:
        where = "the nearest reference patch"
    elif reason.image is None:
        where = f"the most alike patches of this image ({place})"
    else:
        name = references.name(reason) or f"reference image {reason.image}"
        view = f", view {reason.view}" if reason.view else ""
        where = f"the nearest reference patch ({shown(name)}{view}, {place})"
    usual = ""
    if reason.usual is not None:
        usual = f"; normal patches are {reason.usual:.3f} from those of other images"
    return f"{reason.distance:.3f} from {where}{usual}"
