"""What a threshold does, in counts of images: false alarms, missed defects, other days."""

from __future__ import annotations

from vlad.calibration.calibration import Calibration
from vlad.errors import InputError
from vlad.system.text import counted

LEVEL = 0.95  # of the interval of false alarms


def counts(calibration: Calibration, name: str) -> list[str]:
    """Sentences about the images that a calibration knows; none if it does not say which are good.

    Args:
        name: a head, or "fused".
    """
    return [*filter(None, (_both_sides(calibration, name), _another_day(calibration, name)))]


def false_alarm_interval(alarms: int, good: int) -> tuple[float, float]:
    """The 95 % interval (Clopper & Pearson 1934) of the false-alarm rate.

    Args:
        alarms: how many of `good` images, drawn independently, are called anomalous.

    Raises:
        InputError: no image, or more alarms than images.
    """
    from scipy.stats import binomtest

    if not 0 <= alarms <= good or not good:
        raise InputError(f"{alarms} of {good} images is no share; give 1 image or more.")
    found = binomtest(alarms, good).proportion_ci(LEVEL, method="exact")
    return float(found.low), float(found.high)


def _both_sides(calibration: Calibration, name: str) -> str:
    if calibration.source not in ("normals", "labels"):
        return ""
    threshold, good = calibration.thresholds[name], calibration.known()[name]
    alarms = int((good > threshold).sum())
    # said so, since their alarms are no evidence: the threshold was chosen by them
    said = f"Of {counted(len(good), 'good image')} that set the threshold {alarms} would alarm"
    if calibration.defects:
        defects = calibration.decide(calibration.defects)[name].image_score
        missed = int((defects <= threshold).sum())
        said += f"; of {counted(len(defects), 'defect')} {missed} would be missed"
        # a threshold that misses none lies below the lowest defect, so equal scores alarm too
        needed = int((good >= defects.min()).sum())
        if missed or needed != alarms:
            said += f"; missing none costs {counted(needed, 'alarm')}"
    return f"{said}."


def _another_day(calibration: Calibration, name: str) -> str:
    if not calibration.holdout:
        return ""
    anomalous = calibration.decide(calibration.holdout)[name].anomalous
    good, alarms = len(anomalous), int(anomalous.sum())
    low, high = false_alarm_interval(alarms, good)
    said = f"Of {counted(good, 'good image')} of another day {alarms} would alarm: "
    said += f"{_percent(alarms / good)} ({LEVEL:.0%} interval {_percent(low)} to {_percent(high)})"
    if calibration.source != "normals":
        return f"{said}."
    rate = calibration.rates[name]
    said += f", where {_percent(rate)} was asked for."
    if low > rate:
        said += " Chance alone does not explain this: calibrate on images of that day too."
    return said


def _percent(share: float) -> str:
    """A share in two digits."""
    return f"{float(f'{100 * share:.2g}'):g}%"
