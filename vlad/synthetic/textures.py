"""Procedural surfaces seen from straight above.

Every texture is a function ``(style, shot) -> (n, n, 3)`` of two generators: ``style`` draws what
the images of one category share (scale, colours, pattern), ``shot`` what differs between them. The
order of draws from ``style`` must not depend on ``shot``.
"""

import numpy as np
from PIL import Image, ImageDraw

from vlad.synthetic.noise import (
    SIZE,
    cells,
    colour,
    grid,
    lumps,
    mix,
    near,
    relief,
    resize,
    smoothstep,
    spectral,
    strokes,
)


def _flat(base):
    return np.broadcast_to(base, (SIZE, SIZE, 3)).astype(np.float32)


def _turned(angle, shot, drift=1.0):
    """Coordinates (pixels) rotated by ``angle`` and randomly shifted, for periodic patterns."""
    y, x = grid()
    y, x = y * SIZE / 2, x * SIZE / 2
    oy, ox = shot.uniform(-200, 200, 2) * drift
    return (
        y * np.cos(angle) - x * np.sin(angle) + oy,
        x * np.cos(angle) + y * np.sin(angle) + ox,
    )


def fabric(style, shot):
    """Woven threads."""
    pitch = style.uniform(5, 22)
    angle = style.choice([0, np.pi / 4, style.uniform(0, np.pi)])
    warp = colour(style)
    weft = near(style, warp, style.choice([0.03, 0.25]))
    rough, bend = style.uniform(0.02, 0.15), style.uniform(0.2, 1.5)
    twill = style.integers(1, 4)
    v, u = _turned(angle, shot)
    u = u + bend * lumps(shot, 8)
    v = v + bend * lumps(shot, 8)
    cu, cv = np.floor(u / pitch), np.floor(v / pitch)
    over = ((cu + twill * cv) % (twill + 1)) < 1
    across = np.where(over, u, v) / pitch % 1 - 0.5
    along = np.where(over, v, u) / pitch % 1 - 0.5
    shade = (1 - 1.8 * across**2) * (1 - 0.9 * along**2)
    image = mix(warp, weft, over.astype(np.float32)) * shade[..., None]
    return image * (1 + rough * spectral(shot, 0.6)[..., None])


def knit(style, shot):
    """Rows of V-shaped loops."""
    pitch, lean = style.uniform(10, 28), style.uniform(0.5, 1.2)
    base = colour(style)
    rough, angle = style.uniform(0.03, 0.15), style.choice([0, np.pi / 2])
    v, u = _turned(angle, shot)
    u, v = u + 1.2 * lumps(shot, 7), v + 1.2 * lumps(shot, 7)
    wave = np.abs(u / pitch % 1 - 0.5)
    loop = np.sin(2 * np.pi * (v / pitch * 1.3 + lean * wave * 2))
    shade = 0.62 + 0.25 * loop - 0.5 * (np.abs(wave - 0.25) * 2) ** 2
    return base * (shade * (1 + rough * spectral(shot, 0.5)))[..., None]


def wood(style, shot):
    """Growth rings cut along the trunk, with pores."""
    dark = colour(style, style.uniform(0.3, 0.7), style.uniform(0.2, 0.6))
    dark = dark[np.argsort(-dark)]
    light = np.clip(dark * style.uniform(1.2, 1.9), 0, 1)
    angle = style.choice([0, np.pi / 2])
    rings, stretch = style.uniform(3, 14), style.uniform(3, 7)
    pores = style.uniform(0, 0.15)
    field = spectral(shot, 1.9, stretch, angle)
    line = 0.5 + 0.5 * np.sin(rings * field + spectral(shot, 1.2, stretch, angle))
    fibre = spectral(shot, 0.4, 5, angle)
    return mix(dark, light, line) * (1 + pores * fibre[..., None])


def leather(style, shot):
    """Pebbled skin: raised cells with dark valleys."""
    count, depth = style.integers(14, 60), style.uniform(0.15, 0.7)
    base, azimuth = colour(style), style.uniform(0, 2 * np.pi)
    soft = style.uniform(0, 0.06)
    f1, f2, _ = cells(shot, count)
    height = smoothstep(f2 - f1, 0, 0.6) * SIZE / count * 0.4
    shade = relief(height + spectral(shot, 1.2), azimuth, depth)
    return base * (shade * (1 + soft * lumps(shot, 5)))[..., None]


def pebbles(style, shot):
    """Packed stones or granules, each with its own tone."""
    count, base = style.integers(8, 36), colour(style)
    other, spread = near(style, base, 0.25), style.uniform(0.2, 1)
    azimuth, depth = style.uniform(0, 2 * np.pi), style.uniform(0.2, 0.9)
    f1, f2, value = cells(shot, count)
    height = np.sqrt(np.clip(1 - f1**2, 0, 1)) * SIZE / count * 0.6
    edge = smoothstep(f2 - f1, 0, style.uniform(0.1, 0.4))
    image = mix(base, other, value * spread) * relief(height, azimuth, depth)[..., None]
    return image * (0.35 + 0.65 * edge[..., None])


def terrazzo(style, shot):
    """Coloured chips in a plain ground."""
    count, fill = style.integers(8, 30), style.uniform(0.2, 0.45)
    ground, chips = colour(style), [colour(style) for _ in range(4)]
    f1, f2, value = cells(shot, count)
    image = _flat(ground) * (1 + 0.03 * spectral(shot, 0.7))[..., None]
    chip = smoothstep(f2 - f1, 0.15, 0.25) * (f1 < fill * (0.6 + value))
    tint = np.stack(chips)[(value * 3.99).astype(int)]
    return image + (tint - image) * chip[..., None]


def brushed(style, shot):
    """Brushed or rolled metal."""
    base = colour(style, style.beta(1, 8), style.uniform(0.3, 0.85))
    angle, stretch = style.choice([0, np.pi / 2, style.uniform(0, np.pi)]), style.uniform(4, 9)
    contrast, sheen = style.uniform(0.03, 0.2), style.uniform(0, 0.15)
    lines = spectral(shot, style.uniform(0.3, 0.9), stretch, angle)
    return base * (1 + contrast * lines + sheen * lumps(shot, 2))[..., None]


def cast(style, shot):
    """Cast, sanded or blasted surface: fine bumps under slanted light."""
    base = colour(style, style.beta(1, 4))
    beta, depth = style.uniform(0.2, 1.3), style.uniform(0.05, 0.5)
    azimuth, cloud = style.uniform(0, 2 * np.pi), style.uniform(0, 0.08)
    shade = relief(spectral(shot, beta) * 1.5, azimuth, depth)
    return base * (shade * (1 + cloud * lumps(shot, 4)))[..., None]


def carpet(style, shot):
    """Tufts of short fibre."""
    base, stretch = colour(style), style.uniform(1, 2.5)
    angle, contrast = style.uniform(0, np.pi), style.uniform(0.12, 0.4)
    second, share = near(style, base, 0.2), style.uniform(0, 1)
    scale = style.uniform(2, 20)
    tufts = spectral(shot, 0.35, stretch, angle, low=scale)
    blend = smoothstep(spectral(shot, 0.7, low=scale), -0.5, 0.5) * share
    return mix(base, second, blend) * (1 + contrast * tufts)[..., None]


def mesh(style, shot):
    """Wires crossing over a dark or bright ground."""
    pitch, angle = style.uniform(14, 48), style.choice([0, np.pi / 4, style.uniform(0, 1.5)])
    wire, ground = colour(style), colour(style)
    thick, slant = style.uniform(0.12, 0.35), style.uniform(-0.4, 0.4)
    v, u = _turned(angle, shot)
    v, u = v + 0.6 * lumps(shot, 5), u + slant * v + 0.6 * lumps(shot, 5)
    a, b = np.abs(u / pitch % 1 - 0.5), np.abs(v / pitch % 1 - 0.5)
    nearest = np.minimum(a, b) / thick
    cover = 1 - smoothstep(nearest, 0.75, 1.0)
    shade = np.sqrt(np.clip(1.1 - nearest**2, 0.05, 1))
    back = _flat(ground) * (1 + 0.05 * spectral(shot, 1.0))[..., None]
    return mix(back, wire * shade[..., None], cover)


def marble(style, shot):
    """Veined stone."""
    base, vein = colour(style, style.beta(1, 3)), colour(style, style.beta(1, 3))
    beta, sharp = style.uniform(1.2, 1.7), style.uniform(2, 7)
    field = spectral(shot, beta)
    veins = np.exp(-sharp * np.abs(field + 0.4 * spectral(shot, 1.1)))
    cloud = 0.06 * spectral(shot, 1.4)
    return np.clip(mix(base, vein, veins * style.uniform(0.3, 0.9)) + cloud[..., None], 0, 1)


def granite(style, shot):
    """Speckles of several minerals."""
    tones = [colour(style, style.beta(1, 4)) for _ in range(4)]
    beta, low = style.uniform(0.3, 1.0), style.uniform(0, 25)
    image = _flat(tones[0])
    for tone in tones[1:]:
        grains = smoothstep(spectral(shot, beta, low=low), 0.5, 0.9)
        image = mix(image, tone, grains * style.uniform(0.4, 1))
    return image


def concrete(style, shot):
    """Rough mineral ground with pores."""
    base = colour(style, style.beta(1, 8))
    cloud, grain = style.uniform(0.02, 0.1), style.uniform(0.02, 0.12)
    pores = style.uniform(2.2, 3.2)
    holes = smoothstep(spectral(shot, 0.7), pores, pores + 0.4)
    shade = 1 + cloud * spectral(shot, 1.6) + grain * spectral(shot, 0.2) - 0.4 * holes
    return base * shade[..., None]


def plain(style, shot):
    """Paper, paint, plastic or glass: almost only light and grain."""
    base, grain = colour(style), style.uniform(0, 0.04)
    sheen, angle = style.uniform(0, 0.3), style.uniform(0, 2 * np.pi)
    y, x = grid()
    slope = np.cos(angle) * x + np.sin(angle) * y
    return base * (1 + sheen * slope + grain * spectral(shot, 0.4))[..., None]


def ribs(style, shot):
    """Corrugation, threads of a screw, stripes."""
    pitch, angle = style.uniform(8, 60), style.choice([0, np.pi / 2, style.uniform(0, np.pi)])
    base, power = colour(style), style.uniform(0.5, 4)
    other, wobble = near(style, base, 0.3), style.uniform(0, 1.5)
    grain = style.uniform(0.01, 0.08)
    v, _ = _turned(angle, shot)
    wave = (0.5 + 0.5 * np.sin(2 * np.pi * (v + wobble * lumps(shot, 5)) / pitch)) ** power
    return mix(base * 0.5, other, wave) * (1 + grain * spectral(shot, 0.5, 3, angle))[..., None]


def perforated(style, shot):
    """A plate with rows of holes or studs."""
    pitch, radius = style.uniform(14, 50), style.uniform(0.18, 0.42)
    base, hole = colour(style), colour(style, value=style.uniform(0.02, 0.9))
    shift, angle = style.choice([0, 0.5]), style.choice([0, style.uniform(0, 1.5)])
    azimuth, depth = style.uniform(0, 2 * np.pi), style.uniform(0, 1)
    v, u = _turned(angle, shot)
    row = np.floor(v / pitch)
    du, dv = (u / pitch + shift * (row % 2)) % 1 - 0.5, v / pitch % 1 - 0.5
    inside = 1 - smoothstep(np.hypot(du, dv), radius - 0.05, radius + 0.03)
    image = mix(_flat(base) * (1 + 0.04 * spectral(shot, 0.6))[..., None], hole, inside)
    return image * relief(-inside * 3, azimuth, depth)[..., None]


def bricks(style, shot):
    """Bricks, tiles or slabs with joints."""
    wide, high = style.uniform(30, 110), style.uniform(20, 60)
    base, joint = colour(style), colour(style, 0.1)
    gap, spread, shift = style.uniform(1, 4), style.uniform(0, 0.15), style.choice([0, 0.5])
    rough, wear = style.uniform(0.01, 0.15), style.uniform(0, 1.2)
    v, u = _turned(style.choice([0, np.pi / 2]), shot)
    v, u = v + wear * lumps(shot, 14), u + wear * lumps(shot, 14)
    row = np.floor(v / high)
    u = u / wide + shift * (row % 2)
    tone = np.sin(np.floor(u) * 12.9898 + row * 78.233) * 43758.5453 % 1
    edge = np.minimum((0.5 - np.abs(u % 1 - 0.5)) * wide, (0.5 - np.abs(v / high % 1 - 0.5)) * high)
    face = smoothstep(edge, gap * 0.5, gap * 0.5 + 1.5)
    shade = 1 + spread * (tone - 0.5) * 2 + rough * spectral(shot, 0.9)
    return mix(_flat(joint), base * shade[..., None], face)


def motif(style, shot):
    """A printed motif repeated over a ground."""
    pitch = int(style.uniform(24, 70))
    ground, ink = colour(style), colour(style)
    canvas = Image.new("L", (pitch * 2, pitch * 2))
    draw = ImageDraw.Draw(canvas)
    for _ in range(style.integers(1, 4)):
        x0, y0 = style.integers(0, pitch, 2)
        x1, y1 = np.array([x0, y0]) + style.integers(8, pitch + 8, 2)
        shape = style.choice(["ellipse", "rectangle", "line"])
        box = [int(x0), int(y0), int(x1), int(y1)]
        draw.line(box, 255, 5) if shape == "line" else getattr(draw, shape)(box, fill=255)
    tile = np.asarray(canvas.resize((pitch, pitch), Image.Resampling.BOX), np.float32) / 255
    repeats = SIZE // pitch + 2
    oy, ox = shot.integers(0, pitch, 2)
    cover = np.tile(tile, (repeats, repeats))[oy : oy + SIZE, ox : ox + SIZE]
    grain = style.uniform(0.01, 0.08) * spectral(shot, 0.5)
    return mix(_flat(ground), ink, cover) * (1 + grain)[..., None]


def circuit(style, shot):
    """Copper traces and pads on a board; the layout is fixed per category."""
    board, copper = colour(style, style.uniform(0, 0.9)), colour(style, style.uniform(0, 0.6))
    step, width = style.uniform(9, 22), style.uniform(2.5, 7)
    lines, pads = [], []
    for _ in range(style.integers(10, 34)):
        p = style.integers(0, int(SIZE / step), 2).astype(float)
        path = [p]
        heading = style.integers(0, 8)
        for _ in range(style.integers(2, 6)):
            turn = heading * np.pi / 4
            p = p + np.round([np.cos(turn), np.sin(turn)]) * style.integers(1, 7)
            path.append(p)
            heading += style.integers(-1, 2)
        lines.append((np.stack(path) + 0.5) * step)
        pads += [lines[-1][0], lines[-1][-1]]
    drift = shot.uniform(-3, 3, 2)
    cover = strokes([line + drift for line in lines], width)
    dots = [np.stack([p + drift, p + drift + 0.1]) for p in pads]
    y, x = grid()
    for dot in dots:
        cx, cy = dot[0] / SIZE * 2 - 1
        cover = np.maximum(
            cover, smoothstep(-np.hypot(x - cx, y - cy) * SIZE / 2, -width, 1 - width)
        )
    grain = style.uniform(0.01, 0.06) * spectral(shot, 0.6)
    return mix(_flat(board), copper, cover) * (1 + grain)[..., None]


def cork(style, shot):
    """Pressed granules, sponge, foam, crumb."""
    base, dark = colour(style, style.uniform(0.1, 0.6)), style.uniform(0.2, 0.8)
    counts = style.integers(8, 40, 2)
    image = _flat(base)
    for count in counts:
        f1, _, value = cells(shot, count)
        spot = (1 - smoothstep(f1, 0.15, 0.5)) * (value > 0.45)
        image = image * (1 - dark * 0.6 * spot[..., None] * value[..., None])
    return image * (1 + 0.06 * spectral(shot, 0.8))[..., None]


def clouds(style, shot):
    """Soft two-colour mottling: patina, felt, dough, frosted glass."""
    base = colour(style)
    other, beta = near(style, base, 0.15), style.uniform(0.7, 1.6)
    small = resize(spectral(shot, beta)[:128, :128], SIZE)
    return (
        mix(base, other, smoothstep(small, -1.5, 1.5)) * (1 + 0.03 * spectral(shot, 0.3))[..., None]
    )


# : Every texture with its nouns for captions.
TEXTURES = {
    fabric: ("fabric", "cloth", "textile", "canvas"),
    knit: ("knitwear", "sweater", "wool"),
    wood: ("wood", "plank", "veneer", "board"),
    leather: ("leather", "hide", "skin"),
    pebbles: ("gravel", "pebbles", "stones", "seeds"),
    terrazzo: ("terrazzo", "tile", "floor"),
    brushed: ("brushed metal", "steel sheet", "metal plate", "aluminium"),
    cast: ("casting", "cast iron", "plaster", "sandpaper"),
    carpet: ("carpet", "rug", "felt"),
    mesh: ("grid", "mesh", "wire net", "grille"),
    marble: ("marble", "stone slab"),
    granite: ("granite", "rock"),
    concrete: ("concrete", "cement", "asphalt"),
    plain: ("paper", "plastic sheet", "glass pane", "foil", "painted panel"),
    ribs: ("corrugated sheet", "thread", "hose", "radiator"),
    perforated: ("perforated plate", "screen", "sieve"),
    bricks: ("brick wall", "tiles", "pavement"),
    motif: ("wallpaper", "printed cloth", "label"),
    circuit: ("circuit board", "pcb", "printed board"),
    cork: ("cork", "sponge", "foam", "bread"),
    clouds: ("patina", "dough", "frosted glass"),
}
