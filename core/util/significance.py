"""Statistics that tell a real difference from chance, for shares of counted images."""

from __future__ import annotations

import math
from statistics import NormalDist


def mcnemar_mid_p(lost: int, won: int) -> float:
    """Return the probability that chance alone loses this many, or more, of the images on which two models differ.

    `lost` images are right by the first model only, `won` by the second only. If the models are equally good, each is
    a toss of a fair coin. This is McNemar's test, one-sided, in its mid-p form, which counts half of the probability of
    exactly `lost`; see Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional", BMC Medical Research Methodology 13:91 (2013).
    """
    tosses = lost + won
    ways = sum(math.comb(tosses, count) for count in range(lost + 1, tosses + 1)) + math.comb(tosses, lost) / 2
    return float(ways / 2**tosses)


def wilson_interval(hits: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the lower and the upper one-sided bound, each at `level`, of the share of which `hits` of `total` is seen.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), without continuity
    correction.
    """
    z = NormalDist().inv_cdf(level)
    share = hits / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
