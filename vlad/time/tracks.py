"""Regions of neighbouring frames that are one and the same thing."""

from __future__ import annotations

from collections.abc import Sequence

OVERLAP = 0.1  # least intersection over union of two boxes

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
Track = list[tuple[int, int]]  # (frame, place among its boxes), a pair for each frame


def link(frames: Sequence[Sequence[Box]]) -> list[Track]:
    """Tracks of boxes through frames, in the order of their first box; each box is in one.

    Boxes of two neighbouring frames are paired by intersection over union, largest first, down to
    0.1; of equal ones the earlier place comes first. A box without a pair begins a track.
    """
    tracks: list[Track] = []
    open_tracks: dict[int, Track] = {}  # place in the last frame -> its track
    for number, boxes in enumerate(frames):
        pairs = sorted(
            (-overlap, before, now)
            for before in open_tracks
            for now in range(len(boxes))
            if (overlap := iou(frames[number - 1][before], boxes[now])) >= OVERLAP
        )
        going: dict[int, Track] = {}
        taken: set[int] = set()
        for _, before, now in pairs:
            if before not in taken and now not in going:
                taken.add(before)
                going[now] = open_tracks[before]
        for now in range(len(boxes)):
            if now not in going:
                going[now] = []
                tracks.append(going[now])
            going[now].append((number, now))
        open_tracks = going
    return tracks


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
