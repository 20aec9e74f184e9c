"""Images and fields of a request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import File, Form, Query, UploadFile
from PIL import Image
from starlette.exceptions import HTTPException

from vlad.detector import Detector
from vlad.images import read_image
from vlad.serving.detectors import NAME
from vlad.serving.limits import MAX_NAME

PATTERN = f"^{NAME}$"
_LONGEST_WORDS = 100  # characters
NAMED = Form(pattern=PATTERN, description="Name of a detector.")
Words = Annotated[
    str | None,
    Form(
        min_length=1,
        max_length=_LONGEST_WORDS,
        description="What the images show; for heads that read.",
    ),
]
NameInQuery = Annotated[str | None, Query(pattern=PATTERN)]
WordsInQuery = Annotated[str | None, Query(min_length=1, max_length=_LONGEST_WORDS)]
Images = Annotated[list[UploadFile], File(min_length=1, description="Image files.")]


def names_of(images: Sequence[UploadFile]) -> list[str]:
    """The name of each image; one with an empty file name gets its place."""
    return [(x.filename or f"image {n}")[:MAX_NAME] for n, x in enumerate(images, 1)]


def readers(
    images: Sequence[UploadFile], detector: Detector, max_pixels: int
) -> list[partial[Image.Image]]:
    """For each image, a function that reads it as the detector wants it."""
    read = partial(read_image, max_pixels=max_pixels, bits=detector.bits)
    return [
        partial(read, image.file, name=name)
        for image, name in zip(images, names_of(images), strict=True)
    ]


def check_count(images: Sequence[UploadFile], most: int) -> None:
    """Check that a request does not send too many images; raise an HTTPException 413 if it does."""
    if len(images) > most:
        raise HTTPException(413, f"{len(images)} images are too many; send at most {most}.")


def check_usable(errors: Sequence[str | None]) -> None:
    """Check that an image can be used; if all have an error, raise an HTTPException 422 with the
    first."""
    if all(errors):
        others = f" None of the {len(errors)} images can be used." if len(errors) > 1 else ""
        raise HTTPException(422, f"{errors[0]}{others}")
