"""An explanation as one image, to look at or to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlad.images.resize import resize_map
from vlad.reasons.words import spoken
from vlad.report.heat import bounds, overlay
from vlad.system.text import shown

if TYPE_CHECKING:
    from vlad.reasons.explanation import ExplainedRegion, Explanation
    from vlad.vlm.words import Words

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont  # the latter where Pillow has no FreeType

SIDE = 384  # pixels of the image's longer side
CROP = 160  # pixels of a crop's longer side
GAP = 12
LINE = 20  # pixels between lines of text
SHOWN = 4  # regions with a row of their own
PAPER, INK, EDGE = (255, 255, 255), (20, 20, 20), (0, 90, 220)


def drawn(explanation: Explanation) -> Image.Image:
    """Image and outlined map side by side; below, a row for each of the largest regions."""
    font = ImageFont.load_default(14)
    image, heat = _pair(explanation)
    width = max(image.width + heat.width + GAP, 2 * SIDE + GAP) + 2 * GAP
    rows = [
        _row(number, region, width - 2 * GAP, font)
        for number, region in enumerate(explanation.regions[:SHOWN], start=1)
    ]
    lines = _wrapped(_title(explanation), font, width - 2 * GAP)
    top = GAP + LINE * len(lines)
    if explanation.words is not None:
        rows.append(_spoken(explanation.words, width - 2 * GAP, font))
    height = top + image.height + GAP + sum(row.height + GAP for row in rows)
    sheet = Image.new("RGB", (width, height), PAPER)
    ImageDraw.Draw(sheet).text((GAP, GAP // 2), "\n".join(lines), INK, font)
    sheet.paste(image, (GAP, top))
    sheet.paste(heat, (GAP + image.width + GAP, top))
    at = top + image.height + GAP
    for row in rows:
        sheet.paste(row, (GAP, at))
        at += row.height + GAP
    return sheet


def _title(explanation: Explanation) -> str:
    return (
        f"{shown(explanation.name)}: {explanation.head} {explanation.image_score:.4g}. "
        f"{explanation.note}"
    )


def _pair(explanation: Explanation) -> tuple[Image.Image, Image.Image]:
    """The image, and its map with the outlines of regions, both at one size."""
    full = explanation.size
    scale = SIDE / max(full)
    size = max(1, round(full[0] * scale)), max(1, round(full[1] * scale))
    anomaly_map = resize_map(np.asarray(explanation.anomaly_map, np.float32), size)
    low, high = bounds([explanation.anomaly_map])
    heat = overlay(explanation.image, anomaly_map, low + (high - low) / 4, high)
    pen, font = ImageDraw.Draw(heat), ImageFont.load_default(16)
    for number, region in enumerate(explanation.regions, start=1):
        for outline in region.outlines:
            corners = [(x * scale, y * scale) for x, y in outline]
            pen.line([*corners, corners[0]], EDGE, 2)
        if number <= SHOWN:
            x, y = min(region.outlines[0], key=lambda corner: corner[1])  # the topmost
            pen.text(
                (x * scale, y * scale), str(number), EDGE, font, stroke_width=2, stroke_fill=PAPER
            )
    return explanation.image.convert("RGB").resize(size), heat


def _row(number: int, region: ExplainedRegion, width: int, font: Font) -> Image.Image:
    """A region in words, beside its crop and that of the reference image."""
    own = "alike patches" if region.reference == "" else "nearest normal"
    captioned = [("this image", region.crop), (own, region.reference_crop)]
    crops = [_fitted(crop, words, font) for words, crop in captioned if crop is not None]
    left = sum(crop.width + GAP for crop in crops)
    share = "" if region.share is None else f", {100 * region.share:.0f} % of the score"
    said = [f"{number}. {region.place}{share}", *region.texts, region.reference_note]
    lines = [line for one in said if one for line in _wrapped(shown(one), font, width - left)]
    tall = max([LINE * len(lines), *(crop.height for crop in crops)])
    row = Image.new("RGB", (width, tall), PAPER)
    at = 0
    for crop in crops:
        row.paste(crop, (at, 0))
        at += crop.width + GAP
    ImageDraw.Draw(row).text((left, 0), "\n".join(lines), INK, font)
    return row


def _spoken(words: Words, width: int, font: Font) -> Image.Image:
    """What a vision-language model says, below a line."""
    lines = [part for line in spoken(words) for part in _wrapped(line, font, width)]
    row = Image.new("RGB", (width, LINE * len(lines) + GAP), PAPER)
    pen = ImageDraw.Draw(row)
    pen.line((0, 0, width, 0), INK)
    pen.text((0, GAP // 2), "\n".join(lines), INK, font)
    return row


def _fitted(crop: Image.Image, words: str, font: Font) -> Image.Image:
    """A crop at its size on the sheet, above its caption."""
    scale = CROP / max(crop.size)
    size = [max(1, round(scale * side)) for side in crop.size]
    made = Image.new("RGB", (max(size[0], 100), size[1] + LINE), PAPER)
    made.paste(crop.resize(size), (0, 0))
    ImageDraw.Draw(made).text((0, size[1]), words, INK, font)
    return made


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """Lines no wider than `width`, if words allow it."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
