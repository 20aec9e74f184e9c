"""What scoring many images costs, said while it can still be stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vlad.scoring.panel import Panel


def expect(
    panel: Panel, images: int, tell: Callable[[str], object], names: Iterable[str] | None = None
) -> None:
    """Tell the heads of a panel how many images come, for `Head.expect`.

    Nothing is said of images that are cut into tiles, since nobody knows yet into how many.

    Args:
        names: of the heads that score them; None is all.
    """
    if panel.tiling.tile is not None:
        return
    for name in panel.heads if names is None else names:
        # an object that is no subclass may lack it
        if own := getattr(panel.heads[name], "expect", None):
            own(images, tell)
