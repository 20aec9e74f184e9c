"""Synthetic defects with exact masks.

Each defect is a function ``(rng, image, place) -> image`` on float32 (n, n, 3) in [0, 1];
``place`` holds where it may lie and what it may borrow.  :func:`add_defects` keeps only the pixels
that changed visibly, so that the mask is exactly where the image changed.
"""

import numpy as np

from vlad.synthetic.noise import (
    SIZE,
    blur,
    cells,
    colour,
    grid,
    lumps,
    mix,
    polygon,
    relief,
    resize,
    smoothstep,
    spectral,
    strokes,
    wander,
)
from vlad.synthetic.spots import VISIBLE, Place, spot


def _ink(rng, image, place, least=0.15):
    """A colour that differs from the image at the place."""
    x, y = place.centre.astype(int)
    here = image[y, x]
    kind = rng.integers(4)
    step = rng.uniform(least, 0.6)
    if kind == 0:
        return np.clip(here - step, 0, 1)
    if kind == 1:
        return np.clip(here + step, 0, 1)
    if kind == 2:
        return here * rng.uniform(0.1, 0.6)
    return colour(rng, rng.uniform(0.1, 0.9))


def _path(rng, place, wobble, reach=2.5):
    heading = rng.uniform(0, 2 * np.pi)
    length = place.size * rng.uniform(1.2, reach)
    start = place.centre - length / 2 * np.array([np.cos(heading), np.sin(heading)])
    return wander(rng, start, length, heading, wobble)


def scratch(rng, image, place):
    """One or a few thin, almost straight strokes."""
    paths = [_path(rng, place, 0.05, 4) for _ in range(rng.integers(1, 4))]
    line = strokes(paths, rng.uniform(0.6, 2.5)) * rng.uniform(0.4, 1)
    out = mix(image, _ink(rng, image, place), line)
    rim = np.roll(line, 1, 0) * (1 - line)
    return out * (1 + rng.uniform(-0.3, 0.3) * rim)[..., None]


def crack(rng, image, place):
    """A branching dark line."""
    paths, widths = [_path(rng, place, 0.35, 4)], [rng.uniform(1, 3.5)]
    for _ in range(rng.integers(0, 5)):
        root = paths[0][rng.integers(len(paths[0]))]
        paths.append(
            wander(rng, root, place.size * rng.uniform(0.4, 1.5), rng.uniform(0, 6.3), 0.35)
        )
        widths.append(widths[0] * rng.uniform(0.4, 0.9))
    line = strokes(paths, widths) * rng.uniform(0.5, 1)
    return mix(image, image * rng.uniform(0, 0.5), line)


def hole(rng, image, place):
    """A pit or bore: dark inside, lit on the far rim."""
    inside = spot(rng, place, 0.2, 1.0)
    depth = rng.uniform(0.5, 1)
    light = relief(-blur(inside, 1.5) * 5, rng.uniform(0, 6.3), rng.uniform(0.2, 0.9))
    floor = place.ground if rng.random() < 0.3 else image * rng.uniform(0, 0.4)
    return mix(image * light[..., None], floor, inside * depth)


def dent(rng, image, place):
    """A dip or bump that only the light shows."""
    y, x = grid()
    cx, cy = place.centre / SIZE * 2 - 1
    bowl = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (place.size / SIZE * 1.3) ** 2)
    bowl = bowl * (1 + 0.2 * lumps(rng, 10))
    height = bowl * place.size * rng.uniform(0.3, 1.0) * rng.choice([-1, 1])
    return image * relief(height, rng.uniform(0, 6.3), rng.uniform(0.4, 1))[..., None]


def stain(rng, image, place):
    """A liquid mark: tinted, sometimes with a dark rim."""
    soft = rng.uniform(1, 8)
    area = spot(rng, place, rng.uniform(0.1, 0.5), soft)
    tint = 1 - rng.uniform(0.2, 0.8) * (1 - colour(rng, rng.uniform(0.1, 0.9)))
    rim = area * (1 - area) * 4 * rng.uniform(0, 0.4)
    return mix(image, image * tint, area * rng.uniform(0.5, 1)) * (1 - rim)[..., None]


def discoloration(rng, image, place):
    """A large soft change of tone or hue."""
    area = spot(rng, place, 0.3, place.size * rng.uniform(0.2, 0.8)) * rng.uniform(0.4, 1)
    if rng.random() < 0.4:
        return mix(image, image[..., rng.permutation(3)], area)
    gain = 1 + rng.choice([-1, 1]) * rng.uniform(0.15, 0.6, 3) * rng.choice([1, rng.uniform(0, 1)])
    return mix(image, image * gain.astype(np.float32), area)


def contamination(rng, image, place):
    """Foreign lumps with a shadow."""
    area = spot(rng, place, rng.uniform(0.2, 0.8), rng.uniform(0.7, 2))
    if rng.random() < 0.4:
        f1, _, value = cells(rng, int(rng.integers(20, 70)))
        area = area * (f1 < 0.35) * (value > rng.uniform(0.2, 0.7))
    lump = _ink(rng, image, place) * (1 + 0.12 * spectral(rng, 0.8))[..., None]
    lump = lump * relief(blur(area, 2) * 4, rng.uniform(0, 6.3), 0.5)[..., None]
    shadow = np.roll(blur(area, 2), tuple(rng.integers(-4, 5, 2)), (0, 1)) * rng.uniform(0, 0.6)
    return mix(image * (1 - shadow)[..., None], np.clip(lump, 0, 1), area)


def cut(rng, image, place):
    """A slit: dark core and a bright lip."""
    path, width = _path(rng, place, 0.08, 3), rng.uniform(1.5, 4)
    core = strokes([path], width) * rng.uniform(0.6, 1)
    lip = strokes([path + rng.uniform(-2, 2, 2)], width) * rng.uniform(0.1, 0.5)
    return mix(mix(image, np.float32(1), lip), image * rng.uniform(0, 0.3), core)


def chip(rng, image, place):
    """A piece broken off: the ground shows, with a lit fracture along the break."""
    count = rng.integers(4, 10)
    turn = np.sort(rng.uniform(0, 2 * np.pi, count))
    reach = place.size * rng.uniform(0.5, 1.3, count)
    corner = place.centre + reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    gone = polygon(corner) if rng.random() < 0.7 else spot(rng, place, 0.3)
    gone = gone * place.cover
    band = np.clip(blur(gone, rng.uniform(1, 5)) * 2, 0, 1) * (1 - gone) * place.cover
    facet = rng.uniform(-0.5, 0.7) * band * (1 + 0.5 * spectral(rng, 0.8))
    return mix(np.clip(image * (1 + facet)[..., None], 0, 1), place.ground, gone)


def shatter(rng, image, place):
    """Splinters: flat facets that catch the light each its own way."""
    _, _f2, value = cells(rng, int(np.clip(SIZE / place.size * rng.uniform(1, 4), 3, 60)))
    area = spot(rng, place, 0.3, 1.0)
    facet = (value * 2 - 0.8) * rng.uniform(0.3, 1.1)
    edge = np.hypot(*np.gradient(value)) > 0.02
    splinter = image * (1 + facet)[..., None] + 0.4 * np.clip(facet, 0, 1)[..., None]
    splinter = splinter + (edge * rng.uniform(-0.4, 0.5))[..., None]
    return mix(image, np.clip(splinter, 0, 1), area)


def blotch(rng, image, place):
    """Ink, paint or print where none belongs."""
    ink = colour(rng, rng.uniform(0.2, 1))
    if rng.random() < 0.5:
        paths = [_path(rng, place, 0.3) for _ in range(rng.integers(1, 5))]
        return mix(image, ink, strokes(paths, rng.uniform(2, 7)) * rng.uniform(0.5, 1))
    return mix(image, ink, spot(rng, place, 0.15, 1) * rng.uniform(0.4, 1))


def thread(rng, image, place):
    """A loose fibre or hair, with its shadow."""
    path, width = _path(rng, place, rng.uniform(0.08, 0.25), 6), rng.uniform(0.8, 3)
    fibre = strokes([path], width)
    shadow = strokes([path + 2], width + 1) * rng.uniform(0, 0.5)
    return mix(image * (1 - shadow)[..., None], _ink(rng, image, place, 0.25), fibre)


def scrape(rng, image, place):
    """A patch rubbed in one direction."""
    grain = spectral(rng, 0.6, rng.uniform(3, 8), rng.uniform(0, np.pi))
    area = spot(rng, place, 0.3, 3) * smoothstep(grain, rng.uniform(-1, 0.5), 1)
    return mix(image, _ink(rng, image, place), area * rng.uniform(0.3, 0.9))


def misplaced(rng, image, place):
    """A piece of the same image from elsewhere, perhaps turned or jittered in colour."""
    shift = rng.integers(24, SIZE - 24, 2)
    source = np.roll(image, tuple(shift), (0, 1))
    source = np.rot90(source, rng.integers(4))
    if rng.random() < 0.5:
        source = np.clip(source * rng.uniform(0.6, 1.4), 0, 1)
    half = place.size * rng.uniform(0.3, 1.2, 2)
    if rng.random() < 0.3:
        half[0] = half.max() * 0.15
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ turn + place.centre
    return mix(image, source, polygon(corner))


def foreign(rng, image, place):
    """Another material blended in under a noise mask."""
    field = lumps(rng, int(rng.integers(3, 14)))
    area = smoothstep(field, 0.2, 0.4) * spot(rng, place, 0.3, 3)
    return mix(image, place.other, area * rng.uniform(0.25, 1))


def warp(rng, image, place):
    """The material pulled out of place: bent threads, wrinkles, swirls."""
    area = spot(rng, place, 0.1, place.size * 0.5)
    strength = place.size * rng.uniform(0.2, 0.6)
    waves = int(rng.integers(4, 20))
    dy, dx = (strength * area * lumps(rng, waves) * 0.7 for _ in range(2))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    rows = np.clip(np.rint(rows + dy), 0, SIZE - 1).astype(int)
    columns = np.clip(np.rint(columns + dx), 0, SIZE - 1).astype(int)
    return image[rows, columns]


def smear(rng, image, place):
    """Detail wiped out or melted."""
    area = spot(rng, place, 0.2, 3)
    factor = int(rng.choice([16, 32, 48]))
    flat = np.stack([resize(image[..., c], factor) for c in range(3)], 2)
    flat = np.stack([resize(flat[..., c], SIZE) for c in range(3)], 2)
    return mix(image, np.clip(flat * rng.uniform(0.8, 1.2), 0, 1), area)


def roughness(rng, image, place):
    """Corroded, pitted or fluffy: extra grain."""
    area = spot(rng, place, 0.3, 4)
    grain = spectral(rng, rng.uniform(0.1, 0.9)) * rng.uniform(0.15, 0.5)
    return mix(image, np.clip(image * (1 + grain)[..., None] + 0.05 * grain[..., None], 0, 1), area)


#: Every defect with the adjectives that captions may use for it.
DEFECTS = {
    scratch: "scratched",
    crack: "cracked",
    hole: "punctured",
    dent: "dented",
    stain: "stained",
    discoloration: "discolored",
    contamination: "contaminated",
    cut: "cut",
    chip: "broken",
    shatter: "broken",
    blotch: "stained",
    thread: "contaminated",
    scrape: "worn",
    misplaced: "defective",
    foreign: "contaminated",
    warp: "bent",
    smear: "defective",
    roughness: "corroded",
}


def add_defects(rng, image, cover, ground, other):
    """Put one to five defects on an image.

    Args:
        image: (n, n, 3); cover: (n, n) coverage of the object in it.
        ground: what shows where the object is missing; other: a foreign image; both (n, n, 3).

    Returns:
        ``(image, mask, word)``: mask is bool (n, n), true exactly where the image changed;
        word is an adjective for the last defect.
    """
    inside = np.argwhere(cover > 0.5)
    if len(inside) == 0:
        inside = np.argwhere(np.ones_like(cover) > 0)
    border = np.argwhere((cover > 0.2) & (cover < 0.8))
    extent = np.sqrt(max(len(inside), 400)) / 2
    out, word = image, ""
    for _ in range(rng.choice([1, 1, 2, 3, 4, 5])):
        defect = list(DEFECTS)[rng.integers(len(DEFECTS))]
        word = DEFECTS[defect]
        at_edge = defect in (chip, shatter) and len(border) and rng.random() < 0.6
        spots = border if at_edge else inside
        y, x = spots[rng.integers(len(spots))]
        size = np.clip(extent * np.exp(rng.uniform(np.log(0.1), np.log(0.8))), 6, 90)
        place = Place(cover, ground, other, np.array([x, y], np.float32), float(size))
        flawed = np.clip(defect(rng, out, place), 0, 1)
        loose = defect in (thread, contamination, blotch) and rng.random() < 0.3
        out = flawed if loose else out + (flawed - out) * cover[..., None]
    mask = np.abs(out - image).max(2) > VISIBLE
    return np.where(mask[..., None], out, image).astype(np.float32), mask, word
