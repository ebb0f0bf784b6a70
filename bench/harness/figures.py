"""Figures: what is made of times and of answers. Pure functions."""

import math
import statistics

# A machine whose own peak moved by more than this share does other things as well.
MAX_DRIFT = 0.10

# Nor is a machine quiet on which others took more than this share of a core.
MAX_FOREIGN = 0.10


def summary(times):
    """Minimum, median and ninth decile of at least one time."""
    ranked = sorted(times)
    return {
        "min_ms": ranked[0],
        "median_ms": statistics.median(ranked),
        "p90_ms": ranked[math.ceil(0.9 * len(ranked)) - 1],
        "runs": len(ranked),
    }


def relative_l2(answer, reference):
    """The norm of the difference, as a share of the reference's; infinite if there is nothing to compare."""
    if len(answer) != len(reference) or not all(map(math.isfinite, answer)):
        return math.inf
    return math.dist(answer, reference) / math.hypot(*reference)


def doubts(probes, foreign):
    """Why figures are not to be trusted: `probes` of the peak, `foreign` shares of a core that others took in turns."""
    told = []
    drift = 1.0 - min(probes) / max(probes)
    if drift > MAX_DRIFT:
        told.append(f"the peak moved by {100 * drift:.0f} %")
    others = statistics.median(foreign) if foreign else 0.0
    if others > MAX_FOREIGN:
        told.append(f"other processes took {100 * others:.0f} % of a core")
    return told
