"""What the head vlm asks about segments of a video, by AnyAnomaly (Ahn et al., arXiv 2503.04504).

Of each keyword, the model is asked whether the key frame, the position image and the temporal image
of a segment (`vlad.vlm.context`) show it. Of each of the three images the highest answer of all
keywords counts, and the score of the segment is their weighted mean.

The questions are vlad's own. The authors choose the weights on the labels that they test on; here
they are equal unless the user says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from vlad.heads.vlm import Vlm
from vlad.heads.vlm_question import filled
from vlad.vlm import Request

# said of the key frame, the position image and the temporal image, in the blank `window`
SAID = (
    "",
    "The image is a frame of a video, darkened where nothing of interest was found. ",
    "The image holds four moments of one place in a video, in the order above left, above right, "
    "below left, below right. ",
)
Context = tuple[Image.Image, Image.Image, Image.Image]  # as `context_images` makes them


def score_segments(
    head: Vlm, segments: Sequence[Sequence[Context]], device: str
) -> list[tuple[float, str]]:
    """A score from 0 to 1 and "", or NaN and why there is none, for each segment.

    Args:
        segments: the images of each, one context for each of the head's keywords in their order.
        device: for a model on this machine.

    Raises:
        VlmError, BackboneError: as `Vlm.score`.
    """
    prompt = head.prompt
    requests = []
    for contexts in segments:
        for noun, images in zip(head.nouns, contexts, strict=True):
            for said, image in zip(SAID, images, strict=True):
                requests.append(Request((image,), filled(prompt, noun, window=said)))
    replies = iter(head.answers(requests, device))
    weights = torch.tensor(head.weights, dtype=torch.float64)
    found = []
    for contexts in segments:
        own = [next(replies) for _ in contexts for _ in SAID]
        highest = torch.tensor([x for x, _ in own], dtype=torch.float64).view(-1, 3).amax(dim=0)
        why = next((why for _, why in own if why), "")
        found.append((float(highest @ weights / weights.sum()), why))
    return found
