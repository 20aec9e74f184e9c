"""Anomalies in time: smoothed and combined scores, events, tracks, and false alarms per hour.

Plain functions on arrays of the frames of one source, in order: `seconds` (n,) is the position of
each frame, `scores` (n,) its image score. Steps between frames may differ; a step longer than `gap`
seconds, or one backwards, cuts the source into pieces that know nothing of each other.
"""

from vlad.time.anomalyruler import BaseScores, anomalyruler_base
from vlad.time.combined import COMBINED, combine, scale_of
from vlad.time.events import Event, find_events
from vlad.time.hourly import Hourly, from_footage
from vlad.time.live import LiveEvents
from vlad.time.pieces import default_gap, pieces
from vlad.time.smoothing import Smoothing
from vlad.time.tracks import link

__all__ = [
    "COMBINED",
    "BaseScores",
    "Event",
    "Hourly",
    "LiveEvents",
    "Smoothing",
    "anomalyruler_base",
    "combine",
    "default_gap",
    "find_events",
    "from_footage",
    "link",
    "pieces",
    "scale_of",
]
