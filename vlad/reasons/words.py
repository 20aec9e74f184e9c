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
    NearestState,
    Reason,
    Residual,
)

if TYPE_CHECKING:
    from vlad.reasons.explanation import Explanation
    from vlad.vlm.words import Words

NEAR = 2  # cells, in any direction, within which two places are the same
SAID = 0.005  # share of the score outside the regions from which on it is said
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
    if isinstance(reason, NearestState):
        assert prompts is not None  # it has the states
        best = getattr(prompts, reason.side)[reason.index]
        return (
            f'{reason.side}: "{reason.state}", {percent(reason.weight)} of that side (an equal '
            f'share is {percent(reason.equal)}); best as "{best}", cosine {reason.similarity:.3f}'
        )
    if isinstance(reason, FeatureShift):
        way = "up" if reason.sigmas > 0 else "down"
        moved = f"moves the image's {reason.feature}" if reason.part else reason.feature
        return f"{moved} {abs(reason.sigmas):.1f} standard deviations {way}"
    if isinstance(reason, KnownKind):
        way = "nearer" if reason.distance < reason.normal else "no nearer"
        kind = f"the known defect {shown(reason.kind)} ({reason.distance:.3f})"
        return f"{way} to {kind} than to normal images ({reason.normal:.3f})"
    assert isinstance(reason, Residual)
    return (
        f"{percent(reason.share)} of its worst patch is outside the {reason.components} directions "
        f"of normal patches, {reason.times:.3g} times as much as of the mean normal patch"
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
    if explanation.rest is not None and regions and explanation.rest >= SAID:
        lines.append(f"  {percent(explanation.rest)} of the score is outside these regions.")
    lines.append(f"  {explanation.note}")
    if explanation.words is not None:
        lines += spoken(explanation.words)
    return "\n".join(lines)


def spoken(words: Words) -> list[str]:
    """A model's words in lines, apart from what the head says."""
    model = shown(words.model)
    seen, sentence = words.told()
    if words.anomalous is None:
        return [f"  {model} says nothing ({seen})."]
    return [f"  {model} says (no part of the score): {seen}", f"     {sentence}"]


def percent(share: float) -> str:
    """A share as a percentage with two digits."""
    if 0 < abs(share) < 0.0005:
        return "under 0.1 %"
    digits = 1 if 0 < abs(share) < 0.1 else 0
    return f"{100 * share:.{digits}f} %"


def _nearest(reason: NearestPatch, references: References) -> str:
    usual = ""
    if reason.cell is None:
        where = "the nearest reference patch"
    else:
        apart = max(abs(a - b) for a, b in zip(reason.cell, reason.patch, strict=True))
        place = f"{place_of(*references.at(reason.cell))}, {apart} patches away"
        if apart <= NEAR:
            place = "nearby" if reason.image is None else "the same place"
        where = f"the most alike patches of this image ({place})"
        if reason.image is not None:
            name = references.name(reason) or f"reference image {reason.image}"
            view = f", view {reason.view}" if reason.view else ""
            where = f"the nearest reference patch ({shown(name)}{view}, {place})"
    if reason.usual is not None:
        of = "patches of this image" if reason.image is None else "normal patches"
        usual = f"; for half of the {of} it is at most {reason.usual:.3f}"
    return f"{reason.distance:.3f} from {where}{usual}"
