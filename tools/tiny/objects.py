"""Procedural objects on a ground, seen from above and lit from one side.

An object is a stack of outlines (body, bore, slot, rim, chips, print ...), each with a height
profile and a surface of its own, so that a few shapes give nuts, washers, pills, caps, screws,
biscuits, tubes, gears and boards.  As with textures, ``style`` draws the category and ``shot``
what differs from image to image.
"""

from dataclasses import dataclass

import numpy as np

from vlad.synthetic.noise import (
    SIZE,
    blur,
    colour,
    grid,
    mix,
    near,
    relief,
    smoothstep,
    spectral,
)
from vlad.synthetic.textures import TEXTURES

SURFACES = tuple(TEXTURES)
QUIET = tuple(
    f for f in SURFACES if f.__name__ in {"plain", "cast", "brushed", "clouds", "concrete"}
)


@dataclass
class Outline:
    """A closed curve in units of its own radius: ``kind`` and up to two shape numbers."""

    kind: str
    a: float
    b: float
    phases: np.ndarray

    def distance(self, y, x):
        """Signed distance-like field, negative inside, 1 = one radius."""
        r, t = np.hypot(x, y), np.arctan2(y, x)
        if self.kind == "disc":
            return r - 1
        if self.kind == "oval":
            return np.hypot(x, y / self.a) - 1
        if self.kind == "box":
            qx, qy = np.abs(x) - 1 + self.b, np.abs(y) - self.a + self.b
            outside = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0))
            return outside + np.minimum(np.maximum(qx, qy), 0) - self.b
        if self.kind == "capsule":
            return np.hypot(np.maximum(np.abs(x) - 1 + self.a, 0), y) - self.a
        if self.kind == "polygon":
            sides = int(self.a)
            wedge = np.pi / sides
            return r * np.cos((t + wedge) % (2 * wedge) - wedge) - np.cos(wedge)
        if self.kind == "gear":
            return r - 1 + self.b * smoothstep(np.sin(int(self.a) * t), -0.4, 0.4)
        if self.kind == "blob":
            wave = sum(
                np.cos((k + 2) * t + p) * self.b / (k + 1) for k, p in enumerate(self.phases)
            )
            return r - 1 + wave
        if self.kind == "cross":
            arm = np.minimum(np.maximum(np.abs(x) - 1, np.abs(y) - self.b), 9)
            return np.minimum(arm, np.maximum(np.abs(y) - 1, np.abs(x) - self.b))
        return np.maximum(np.abs(x) - 1, np.abs(y) - self.b)  # slot


def outline(rng, kinds=None):
    """Draw an :class:`Outline`."""
    kinds = kinds or ("disc", "disc", "oval", "box", "capsule", "polygon", "gear", "blob")
    kind = str(rng.choice(kinds))
    a = {
        "oval": rng.uniform(0.55, 0.95),
        "box": rng.uniform(0.35, 1.0),
        "capsule": rng.uniform(0.3, 0.6),
        "polygon": rng.choice([3, 4, 5, 6, 6, 6, 8]),
        "gear": rng.integers(5, 26),
    }.get(kind, 0.0)
    b = {
        "box": rng.uniform(0.02, 0.3),
        "gear": rng.uniform(0.06, 0.25),
        "blob": rng.uniform(0.01, 0.1),
        "cross": rng.uniform(0.15, 0.3),
        "slot": rng.uniform(0.1, 0.25),
    }.get(kind, 0.0)
    return Outline(kind, float(a), float(b), rng.uniform(0, 2 * np.pi, 6))


@dataclass
class Part:
    """One layer of an object."""

    shape: Outline
    radius: float
    centre: np.ndarray
    turn: float
    rise: float
    round: float
    surface: object
    seed: int
    tint: np.ndarray
    grain: float
    gloss: float


def _part(rng, shape, radius, base, centre=(0.0, 0.0), sunk=False):
    quiet = rng.random() < 0.75
    return Part(
        shape=shape,
        radius=radius,
        centre=np.asarray(centre, np.float32),
        turn=rng.uniform(0, 2 * np.pi),
        rise=rng.uniform(2, 16) * (-1 if sunk else 1),
        round=rng.choice([rng.uniform(0.03, 0.15), rng.uniform(0.3, 1.0)]),
        surface=QUIET[rng.integers(len(QUIET))] if quiet else SURFACES[rng.integers(len(SURFACES))],
        seed=int(rng.integers(2**31)),
        tint=near(rng, base, 0.15) if rng.random() < 0.6 else colour(rng),
        grain=rng.uniform(0, 1),
        gloss=rng.choice([0, rng.uniform(0, 0.6)]),
    )


def _design(style):
    """The parts of one category of object, from the bottom to the top."""
    base, shape = colour(style), outline(style)
    parts = [_part(style, shape, 1.0, base)]
    plan = style.choice(["plain", "rings", "bore", "slot", "chips", "studs", "print"])
    if plan == "rings":
        radius = 1.0
        for _ in range(style.integers(1, 5)):
            radius *= style.uniform(0.55, 0.93)
            inner = shape if style.random() < 0.4 else outline(style, ("disc",))
            parts.append(_part(style, inner, radius, base, sunk=style.random() < 0.5))
            if inner is shape:
                parts[-1].turn = parts[0].turn
    elif plan == "bore":
        inner = outline(style, ("disc", "disc", "polygon", "box", "gear"))
        parts.append(_part(style, inner, style.uniform(0.25, 0.6), base * 0.3, sunk=True))
    elif plan == "slot":
        inner = outline(style, ("slot", "cross", "polygon", "box"))
        parts.append(_part(style, inner, style.uniform(0.35, 0.65), base * 0.4, sunk=True))
    elif plan in ("chips", "studs"):
        free = plan == "chips"
        inner = outline(style, ("disc", "blob", "polygon", "oval", "box"))
        count = style.integers(3, 12)
        chip = _part(
            style, inner, style.uniform(0.07, 0.2), colour(style), sunk=style.random() < 0.5
        )
        for k in range(count):
            angle = 2 * np.pi * k / count
            reach = style.uniform(0.1, 0.7) if free else 0.6
            at = reach * np.array([np.sin(angle), np.cos(angle)])
            parts.append(Part(**{**vars(chip), "centre": at, "turn": angle}))
    elif plan == "print":
        ink = colour(style)
        for k in range(style.integers(1, 6)):
            mark = _part(
                style, outline(style, ("slot", "box", "disc", "cross", "polygon")), 0.16, ink
            )
            mark.centre = np.array([style.uniform(-0.3, 0.3), -0.45 + 0.22 * k], np.float32)
            mark.rise, mark.grain, mark.tint = 0.0, 0.1, ink
            parts.append(mark)
    return parts


def _layout(style):
    """Centres and radii of the copies of the object in the image."""
    if style.random() < 0.72:
        return [(np.zeros(2), style.uniform(0.45, 0.92))]
    count = int(style.integers(2, 4))
    pitch = 2 / count
    rows = count if style.random() < 0.5 else 1
    centres = [
        np.array([(i + 0.5) * pitch - 1 if rows > 1 else 0.0, (j + 0.5) * pitch - 1])
        for i in range(rows)
        for j in range(count)
    ]
    radius = pitch / 2 * style.uniform(0.7, 0.95)
    return [(c, radius) for c in centres]


def draw_object(style, shot):
    """Draw one image of a category of objects.

    Returns:
        ``(image, foreground, ground, kind)``: the image (n, n, 3), the object's coverage
        (n, n), the image of the bare ground (n, n, 3), shadow included, and the kind of outline.
    """
    surface = SURFACES[style.integers(len(SURFACES))]
    seed = int(style.integers(2**31))
    if style.random() < 0.65:
        surface = QUIET[style.integers(len(QUIET))]
    ground = np.clip(surface(np.random.default_rng(seed), shot), 0, 1)
    if style.random() < 0.35:
        ground = ground * 0.15 if style.random() < 0.6 else 0.8 + ground * 0.2
    parts, layout = _design(style), _layout(style)
    azimuth, shadow = style.uniform(0, 2 * np.pi), style.uniform(0, 0.7)
    free, shift = style.random() < 0.35, style.uniform(0, 0.08)
    natural = style.uniform(0, 0.04) * (style.random() < 0.4)
    seeds = {part.seed: part for part in parts}
    tones = {k: _surface(p, np.random.default_rng(k), shot) for k, p in seeds.items()}
    image, foreground = ground.copy(), np.zeros((SIZE, SIZE), np.float32)
    ground = ground.copy()
    y, x = grid()
    if natural:
        y, x = y + natural * spectral(shot, 1.8), x + natural * spectral(shot, 1.8)
    for centre, radius in layout:
        turn = shot.uniform(0, 2 * np.pi) if free else shot.normal(0, 0.02)
        at = centre + shot.uniform(-shift, shift, 2) * radius
        size = radius * shot.uniform(0.97, 1.03)
        box = tuple(_span(c, 1.5 * size) for c in at)
        v, u = (y[box] - at[0]) / size, (x[box] - at[1]) / size
        v, u = v * np.cos(turn) - u * np.sin(turn), u * np.cos(turn) + v * np.sin(turn)
        layers, cover = _render(parts, {k: t[box] for k, t in tones.items()}, v, u, size, azimuth)
        foreground[box] = np.maximum(foreground[box], cover)
        image[box] = mix(image[box], layers, cover)
    cast = np.roll(
        blur(foreground, 5),
        np.rint(6 * np.array([-np.sin(azimuth), -np.cos(azimuth)])).astype(int),
        (0, 1),
    )
    shade = (1 - shadow * cast)[..., None]
    image = image * (shade + (1 - shade) * foreground[..., None])
    ground = ground * shade
    return np.clip(image, 0, 1), foreground, np.clip(ground, 0, 1), parts[0].shape.kind


def _span(centre, reach):
    """Pixels within ``reach`` of ``centre`` along one axis, as a slice of even length."""
    low, high = ((np.array([-reach, reach]) + centre + 1) / 2 * SIZE).astype(int).clip(0, SIZE)
    return slice(low, high - (high - low) % 2)


def _surface(part, style, shot):
    """The part's tint under the grain of its texture, (n, n, 3)."""
    image = np.clip(part.surface(style, shot), 0, 1)
    tone = image.mean(2, keepdims=True) / (image.mean() + 1e-3)
    return part.tint * (1 + part.grain * (np.clip(tone, 0, 2) - 1))


def _render(parts, tones, v, u, size, azimuth):
    """Compose the parts: (n, n, 3) lit image and the body's coverage."""
    pixels = size * SIZE / 2
    height = np.zeros_like(u)
    image, body, gloss = None, None, 0.0
    for part in parts:
        py, px = (v - part.centre[0]) / part.radius, (u - part.centre[1]) / part.radius
        c, s = np.cos(part.turn), np.sin(part.turn)
        d = part.shape.distance(py * c - px * s, px * c + py * s)
        cover = smoothstep(-d * pixels * part.radius, -0.7, 0.7)
        depth = np.clip(-d / part.round, 0, 1)
        profile = np.sqrt(np.clip(1 - (1 - depth) ** 2, 0, 1))
        if body is None:
            image, body = tones[part.seed], cover
        else:
            cover = cover * body
            image = mix(image, tones[part.seed], cover)
        height = height + part.rise * profile * cover * min(1.0, pixels / 60)
        gloss = gloss + (part.gloss - gloss) * cover
    light = relief(height, azimuth, 0.7)
    shine = np.clip(light - 1.15, 0, 1) * gloss * 2
    return np.clip(image * light[..., None] + shine[..., None], 0, 1), body


#: Nouns for objects by outline; the rest of the nouns are drawn from captions.NOUNS.
OBJECT_NOUNS = {
    "disc": ("disc", "cap", "coin", "button", "lid", "washer", "tablet", "bearing"),
    "oval": ("seed", "pebble", "bean", "almond", "egg"),
    "box": ("chip", "box", "connector", "biscuit", "switch", "module"),
    "capsule": ("capsule", "pill", "fuse", "cartridge"),
    "polygon": ("nut", "bolt", "screw head", "metal nut"),
    "gear": ("gear", "knob", "cog", "flange"),
    "blob": ("cookie", "candy", "potato", "nugget", "stone"),
}
