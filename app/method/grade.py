"""How much of what is new would be found on these very scans? Known lesions are painted into them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import Labels, Mask

SIZES_MM3 = (30.0, 100.0)  # of the lesions that are painted: balls of 3.9 and 5.8 mm
EACH = 10  # lesions of each size
CONTRAST_SPREADS = 2.6  # above the tissue around: the median of new lesions in training (training/config.py)
FOUND_SHARE = 0.1  # of a lesion's volume that the mask must cover, as in the official score: strictly more
SEED = 0  # of places and shapes: one pair of scans is graded alike every time
Z = 1.96  # of a normal distribution: 95 % lie within


@dataclass(frozen=True)
class Found:
    """How many lesions of one size were found of those painted."""

    size_mm3: float
    painted: int
    found: int

    @property
    def diameter_mm(self) -> float:
        """Of the ball of that size."""
        return float((6 * self.size_mm3 / np.pi) ** (1 / 3))

    def interval(self) -> tuple[float, float]:
        """Within which the share that would be found of very many lies, in 95 of 100 cases (Wilson 1927)."""
        if self.painted == 0:
            return 0.0, 1.0
        share, weight = self.found / self.painted, Z**2 / self.painted
        middle = (share + weight / 2) / (1 + weight)
        half = Z / (1 + weight) * np.sqrt(share * (1 - share) / self.painted + weight / (4 * self.painted))
        return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


@dataclass(frozen=True)
class SelfGrade:
    """What a pair of scans says of its own misses."""

    found: tuple[Found, ...]  # the smallest size first
    seed: int


def count_found(labels: Labels, sizes_mm3: Sequence[float], mask: Mask) -> tuple[Found, ...]:
    """How many lesions of `labels` (z, y, x) the mask covers by more than `FOUND_SHARE`, by size."""
    voxels = np.bincount(labels.ravel(), minlength=len(sizes_mm3) + 1)[1:]
    covered = np.bincount(labels[mask], minlength=len(sizes_mm3) + 1)[1:]
    found = covered > FOUND_SHARE * voxels
    sizes = np.array(sizes_mm3)
    return tuple(
        Found(size, int(np.count_nonzero(sizes == size)), int(np.count_nonzero(found[sizes == size])))
        for size in sorted(set(sizes_mm3))
    )
