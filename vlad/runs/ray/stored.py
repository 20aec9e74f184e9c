"""Read images by path or URL, and remember what each file was."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from PIL import Image

from vlad.errors import ImageError
from vlad.images import read_image
from vlad.results.partitions.images import fetch, most_bytes
from vlad.results.rows import State
from vlad.runs.run import Reader

# of reads, since damaged files name places that they do not have
_DAMAGED = (None, errno.EINVAL, errno.EOVERFLOW)


class StoredReader(Reader):
    """A `Reader` that also opens URLs; their state is that which the store listed.

    What cannot be fetched or opened has no state, so that a later command tries it again.

    Args:
        max_pixels, bits: as in `read_image`.
        listed: URL -> size and time of the last change, either of which may be None.
    """

    def __init__(
        self,
        max_pixels: int,
        bits: int,
        listed: Mapping[str, tuple[int | None, int | None]],
    ):
        self.decode = partial(read_image, max_pixels=max_pixels, bits=bits)
        super().__init__(self.decode)
        self.most = most_bytes(max_pixels)
        self.listed = listed

    def __call__(self, path: str | Path) -> Image.Image:
        try:
            return self._read(str(path))
        except ImageError as error:
            if isinstance(cause := error.__cause__, OSError) and cause.errno not in _DAMAGED:
                self.states[str(path)] = None
            raise

    def _read(self, url: str) -> Image.Image:
        if "://" not in url:
            return super().__call__(url)  # type: ignore[arg-type]
        size, modified = self.listed.get(url, (None, None))
        content = fetch(url, self.most)
        if isinstance(content, str):
            state = State.of(content)
            if state and size is not None and modified is not None:
                state = State(size, modified, state.read)
        else:
            state = State(size or len(content.getvalue()), modified, 0)  # type: ignore[arg-type]
        self.states[url] = state
        return self.decode(content, name=url)
