"""Where training starts: the first blocks hold a texture descriptor, written as weights.

A transformer trained for hours on two cores does not find good local descriptors by itself, so
they are given to it, and only what is above them is trained. With ``gelu(z) + gelu(-z) ≈ |z|`` and
``gelu(z) - gelu(-z) = z`` an MLP can rectify wavelet responses and take channels away again:

    patch embedding   mean colour, and the low cosines of luminance and of two colour axes
    block 1, MLP      energies: mean |response| of wavelet pairs at 6 angles and 2 scales
    block 2, MLP      their logarithm, piecewise linear; what is no longer needed is removed
    block 3           the mean of the above over the neighbouring patches, by position
    block 4           the mean over similar patches, and how far the patch is from it

Eight channels hold ±1 in every token. They make each layer norm close to a constant factor, and
the cosine of two tokens close to a Euclidean distance of what they describe.
"""

import numpy as np
import torch

from tiny.constants import PATCH, STD

DESCRIPTOR_BLOCKS = 3
FROZEN_BLOCKS = 4

# channels of a token; the logarithms are written where the cosines were
CONSTANT = range(0, 8)
POSITION = range(8, 12)
COLOUR = range(12, 15)
LUMINANCE = range(15, 125)
CHROMA = range(158, 170)
ENERGY = range(170, 184)
LOG = range(15, 29)
CONTEXT = range(29, 46)
SIGNAL = range(12, 46)
SIMILAR = range(46, 80)
NOVELTY = range(80, 114)

COSINE_SCALE = 0.1  # small beside the constants, so that the norms stay linear
SHARPNESS = 30.0  # gain under which gelu turns from quadratic to |z|
FLOOR, LOG_SCALE, LOG_CENTRE = 0.02, 0.2, 2.0  # 0.2·(ln(energy + 0.02) + 2)
KNOTS = (0.0, 0.01, 0.03, 0.07, 0.15, 0.3, 0.6, 1.2)
KNOT_SHARPNESS = 150.0
POSITION_SCALE, POSITION_PERIOD = 0.3, 30.0  # patches; twice the grid, so that nothing wraps
LIKENESS = 2.0  # gain of query and key in the comparison of patches
KERNEL = 45.0  # logit lost at d patches: 45·(1 - cos(2π·d/30)), that is 1 at 1 and 4 at 2

ANGLES = 6
# (sigma, period, centres along each axis), in pixels of a patch
SCALES = ((2.0, 5.0, (1.5, 5.5, 9.5, 13.5)), (4.0, 10.0, (3.5, 11.5)))
LUMA = np.array([0.299, 0.587, 0.114])
OPPONENTS = np.array([[1.0, -1.0, 0.0], [-0.5, -0.5, 1.0]])


@torch.no_grad()
def write_descriptor(visual):
    """Overwrites the patch embedding, the positions and the first blocks of an open_clip ViT."""
    width, side = visual.conv1.out_channels, visual.grid_size[0]
    cosines = cosine_basis(len(LUMINANCE))
    visual.conv1.weight.copy_(torch.tensor(_patch_filters(width, cosines)))
    visual.positional_embedding.copy_(torch.tensor(_positions(width, side)))
    visual.class_embedding.zero_()
    blocks = visual.transformer.resblocks[:DESCRIPTOR_BLOCKS]
    for norm in [visual.ln_pre, *(n for b in blocks for n in (b.ln_1, b.ln_2))]:
        norm.weight.fill_((len(CONSTANT) / width) ** 0.5)  # undoes the division
        norm.bias.zero_()
    for block in blocks:
        for parameter in (*block.attn.parameters(), *block.mlp.parameters()):
            parameter.zero_()
    _energies(width, cosines).write(blocks[0].mlp)
    _logarithms(width).write(blocks[1].mlp)
    _neighbourhood(width, blocks[2].attn)
    units = Units(width)
    units.remove(POSITION)
    units.write(blocks[2].mlp)


@torch.no_grad()
def write_novelty(block):
    """Lets a fresh block tell what is unlike the patches that resemble a patch most.

    Its first head compares tokens by all they describe and averages those that are alike; its MLP
    takes the absolute difference. Its other units do nothing.
    """
    width = block.ln_1.weight.numel()
    constant = (len(CONSTANT) / width) ** 0.5  # what the layer norms divide by
    query, key, value = block.attn.in_proj_weight.split(width)
    for row, channel in enumerate(SIGNAL):
        for matrix, gain in ((query, LIKENESS), (key, LIKENESS), (value, constant)):
            matrix[row].zero_()
            matrix[row, channel] = gain
        block.attn.out_proj.weight[SIMILAR[row], row] = 1
    units = Units(width)
    for signal, similar, novelty in zip(SIGNAL, SIMILAR, NOVELTY, strict=True):
        inputs = np.zeros(width)
        inputs[signal], inputs[similar] = constant, -constant
        units.absolute(inputs, novelty, 1.0)
    units.write(block.mlp)


class Units:
    """Hidden units of one MLP, collected before they are written."""

    def __init__(self, width):
        self.width = width
        self.rows, self.biases, self.outputs = [], [], []
        self.output_bias = np.zeros(width)

    def add(self, inputs, bias, channel, weight):
        """A unit that reads ``inputs · token + bias`` and adds ``weight`` of it to a channel."""
        output = np.zeros(self.width)
        output[channel] = weight
        self.rows.append(inputs)
        self.biases.append(bias)
        self.outputs.append(output)

    def absolute(self, inputs, channel, weight):
        """Adds ``weight · |inputs · token|`` to a channel."""
        for sign in (SHARPNESS, -SHARPNESS):
            self.add(sign * inputs, 0.0, channel, weight / SHARPNESS)

    def remove(self, channels):
        """Sets channels to zero."""
        for channel in channels:
            for sign in (1.0, -1.0):
                inputs = np.zeros(self.width)
                inputs[channel] = sign
                self.add(inputs, 0.0, channel, -sign)

    def write(self, mlp):
        count = len(self.rows)
        mlp.c_fc.weight[:count] = torch.tensor(np.stack(self.rows), dtype=torch.float32)
        mlp.c_fc.bias[:count] = torch.tensor(self.biases)
        mlp.c_proj.weight[:, :count] = torch.tensor(np.stack(self.outputs, 1), dtype=torch.float32)
        mlp.c_proj.bias.copy_(torch.tensor(self.output_bias))


def cosine_basis(count):
    """(count, 16, 16) orthonormal 2-D cosines from low to high frequency, without the constant."""
    axis = (np.arange(PATCH) + 0.5) * np.pi / PATCH
    waves = np.cos(np.outer(np.arange(PATCH), axis))
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    order = sorted(np.ndindex(PATCH, PATCH), key=lambda f: (f[0] ** 2 + f[1] ** 2, f))
    return np.stack([np.outer(waves[u], waves[v]) for u, v in order[1 : count + 1]])


def wavelets():
    """Yields (energy channel, (16, 16) unit filter, weight) of every wavelet."""
    y, x = np.mgrid[0:PATCH, 0:PATCH].astype(float)
    for scale, (sigma, period, centres) in enumerate(SCALES):
        for angle in range(ANGLES):
            along = np.cos(np.pi * angle / ANGLES), np.sin(np.pi * angle / ANGLES)
            for cy, cx in ((cy, cx) for cy in centres for cx in centres):
                envelope = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
                wave = 2 * np.pi / period * ((x - cx) * along[0] + (y - cy) * along[1])
                for phase in (0, np.pi / 2):
                    pattern = envelope * np.cos(wave + phase)
                    pattern -= envelope * pattern.sum() / envelope.sum()
                    pattern /= np.linalg.norm(pattern)
                    yield ENERGY[scale * ANGLES + angle], pattern, 1 / len(centres) ** 2


def _patch_filters(width, cosines):
    # the backbone sees pixels divided by STD; filters undo that, so that they read plain colours
    std = STD.numpy()
    filters = np.zeros((width, 3, PATCH, PATCH), np.float32)
    for tone, channel in enumerate(COLOUR):
        filters[channel, tone] = std[tone] / PATCH**2
    filters[LUMINANCE] = COSINE_SCALE * cosines[:, None] * (LUMA * std)[:, None, None]
    each = len(CHROMA) // len(OPPONENTS)
    for axis, tones in enumerate(OPPONENTS):
        place = CHROMA[axis * each : (axis + 1) * each]
        filters[place] = COSINE_SCALE * cosines[:each, None] * (tones * std)[:, None, None]
    return filters


def _positions(width, side):
    table = np.zeros((1 + side * side, width), np.float32)
    table[:, CONSTANT] = np.tile([1.0, -1.0], len(CONSTANT) // 2)
    turn = 2 * np.pi / POSITION_PERIOD * np.arange(side)
    y, x = (axis.ravel() for axis in np.meshgrid(turn, turn, indexing="ij"))
    table[1:, POSITION] = POSITION_SCALE * np.stack([np.cos(y), np.sin(y), np.cos(x), np.sin(x)], 1)
    return table


def _energies(width, cosines):
    units = Units(width)
    for channel, pattern, weight in wavelets():
        inputs = np.zeros(width)
        inputs[LUMINANCE] = (cosines * pattern).sum((1, 2)) / COSINE_SCALE
        units.absolute(inputs, channel, weight)
    each = len(CHROMA) // len(OPPONENTS)
    for place, channel in enumerate(CHROMA):
        inputs = np.zeros(width)
        inputs[channel] = 1 / COSINE_SCALE
        units.absolute(inputs, ENERGY[2 * ANGLES + place // each], 1 / PATCH)
    units.remove([*LUMINANCE, *CHROMA])
    return units


def _logarithms(width):
    knots = np.array(KNOTS)
    values = LOG_SCALE * (np.log(knots + FLOOR) + LOG_CENTRE)
    bends = np.diff(np.diff(values) / np.diff(knots), prepend=0)
    units = Units(width)
    for energy, log in zip(ENERGY, LOG, strict=True):
        for knot, bend in zip(knots, bends, strict=False):  # the last knot only ends a piece
            inputs = np.zeros(width)
            inputs[energy] = KNOT_SHARPNESS
            units.add(inputs, -KNOT_SHARPNESS * knot, log, bend / KNOT_SHARPNESS)
        units.output_bias[log] = values[0]
    units.remove(ENERGY)
    return units


def _neighbourhood(width, attention):
    """One head whose queries and keys are the positions and whose values are colour and logs."""
    query, value = np.zeros((width, width)), np.zeros((width, width))
    out = np.zeros((width, width))
    head_width = width // attention.num_heads
    gain = np.sqrt(KERNEL * np.sqrt(head_width)) / POSITION_SCALE
    for row, channel in enumerate(POSITION):
        query[row, channel] = gain
    for row, channel in enumerate((*COLOUR, *LOG)):
        value[row, channel] = 1
        out[CONTEXT[row], row] = 1
    stacked = np.concatenate([query, query, value])
    attention.in_proj_weight.copy_(torch.tensor(stacked))
    attention.out_proj.weight.copy_(torch.tensor(out))
