"""Context images of AnyAnomaly (Ahn et al., arXiv 2503.04504): where and how a keyword shows.

A segment of a video is 16 frames. A vision-language model that is asked about its key frame alone
sees neither the small things in it nor what moves, so it is also asked about a *position* image,
the key frame darkened where it is unlike the keyword, and a *temporal* image, one place in four
frames.

`Similar` gives the cosine of images with the keyword: (N, 3, h, w) -> (N,). Pixels are from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.errors import InputError

SEGMENT = 16  # frames
SHOWN = 4  # of these, in the temporal image
POSITION = (1, 3, 5)  # crops a side
TEMPORAL = (1, 2, 3, 4)
SIZE = 240  # pixels a side of what crops are cut from: it divides by all of these
SIDE = 224  # of a context image

Similar = Callable[[torch.Tensor], torch.Tensor]


def similar_to(keyword: str, backbone: Backbone) -> Similar:
    """The cosine of images of any size with a keyword.

    As in the authors' program, pixels go into the encoder as they are, without mean and standard
    deviation taken off.

    Raises:
        HeadError: the backbone has no text encoder.
    """
    with torch.no_grad():
        word = F.normalize(backbone.encode_text([keyword]), dim=-1)[0]

    @torch.no_grad()
    def similar(pixels: torch.Tensor) -> torch.Tensor:
        resized = _resized(pixels, backbone.info.image_size).to(backbone.device)
        last = backbone.forward(resized).last
        assert last is not None  # the image embedding is asked for
        image = backbone.vision.embed_image(last, True).float()
        return (F.normalize(image, dim=-1) @ word.to(image)).to(pixels)

    return similar


def context_images(
    frames: Sequence[Image.Image], similar: Similar
) -> tuple[Image.Image, Image.Image, Image.Image]:
    """The key frame of a segment, its position image and its temporal image.

    Args:
        frames: 16 RGB images of one size, in order.

    Raises:
        InputError: another number of frames, or sizes that differ.
    """
    if len(frames) != SEGMENT or len({frame.size for frame in frames}) > 1:
        raise InputError(
            f"A segment has {len(frames)} frames of {len({f.size for f in frames})} sizes; give "
            f"{SEGMENT} of one size."
        )
    pixels = torch.stack([_as_tensor(frame) for frame in frames])
    key, four = key_frames(similar(pixels))
    made = position_image(pixels[key], similar), temporal_image(pixels[four], similar)
    position, temporal = map(as_image, made)
    return frames[key], position, temporal


def key_frames(cosines: torch.Tensor) -> tuple[int, list[int]]:
    """The frame of a segment that is most like the keyword, and four at its place in each quarter.

    Args:
        cosines: (16,) of its frames.
    """
    key, quarter = int(cosines.argmax()), SEGMENT // SHOWN
    return key, [key % quarter + quarter * i for i in range(SHOWN)]


def position_image(frame: torch.Tensor, similar: Similar) -> torch.Tensor:
    """(3, 224, 224): a frame times how similar its parts are to the keyword, from 0 to 1.

    Cosines of 1, 9 and 25 crops are enlarged to the frame, averaged, and scaled so that the lowest
    is 0 and the highest 1. A frame that is alike everywhere stays as it is.

    Args:
        frame: (3, H, W).
    """
    square = _resized(frame[None], SIZE)
    maps = [
        _resized(similar(crops(square, count)[0]).reshape(1, 1, count, count), SIDE)
        for count in POSITION
    ]
    attention = torch.cat(maps).mean(dim=0)
    low, high = attention.min(), attention.max()
    weights = (attention - low) / (high - low) if high > low else torch.ones_like(attention)
    return _resized(frame[None], SIDE)[0] * weights


def temporal_image(frames: torch.Tensor, similar: Similar) -> torch.Tensor:
    """(3, 224, 224): one place in four frames, two by two in their order.

    The place is the crop, of 1, 4, 9 and 16 equal ones, that is most similar to the keyword in any
    of the frames.

    Args:
        frames: (4, 3, H, W).
    """
    squares = _resized(frames, SIZE)
    best, found = -float("inf"), squares
    for count in TEMPORAL:
        cut = crops(squares, count)
        cosines = similar(cut.flatten(0, 1)).reshape(SHOWN, -1).amax(dim=0)
        value, place = cosines.max(dim=0)
        if value > best:
            best, found = float(value), cut[:, place]
    small = _resized(found, SIDE // 2)
    rows = [torch.cat([*small[i : i + 2]], dim=2) for i in (0, 2)]
    return torch.cat(rows, dim=1)


def crops(pixels: torch.Tensor, count: int) -> torch.Tensor:
    """(N, 3, S, S) -> (N, count², 3, S / count, S / count): equal parts, row by row."""
    side = pixels.shape[-1] // count
    cut = pixels.unfold(2, side, side).unfold(3, side, side)  # (N, 3, count, count, side, side)
    return cut.movedim(1, 3).flatten(1, 2)


def _as_tensor(image: Image.Image) -> torch.Tensor:
    """An RGB image -> (3, h, w) from 0 to 1."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 255


def as_image(pixels: torch.Tensor) -> Image.Image:
    """(3, h, w) from 0 to 1 -> an RGB image."""
    values = (pixels.float() * 255).round().clamp(0, 255).byte().permute(1, 2, 0)
    return Image.fromarray(values.contiguous().cpu().numpy())


def _resized(pixels: torch.Tensor, side: int) -> torch.Tensor:
    if pixels.shape[-2:] == (side, side):
        return pixels
    return F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False)
