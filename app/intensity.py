"""The one scale of intensities: z counts spreads of the brain above its mode, and networks see 1 + z / 4."""

import numpy as np
import numpy.typing as npt

from .arrays import Array

MAD_TO_SD = 1.4826  # median absolute deviation to standard deviation, for Gaussian values
SPREADS_PER_UNIT = 4.0  # of what networks see
DARKEST, BRIGHTEST = 0.0, 3.0  # of what networks see; z from -4 to 8


def spread(values: npt.NDArray[np.floating]) -> float:
    """Standard deviation of the middle half of the values, by their median absolute deviation.

    So that lesions, edges and leftover skull do not count.
    """
    return MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))


def for_network(values: Array, mode: float, spread: float) -> Array:
    """Values of a head in any unit to those that a network sees: mode at 1, one unit for four spreads."""
    return in_range(1 + (values - mode) / (SPREADS_PER_UNIT * spread))


def in_range(values: Array) -> Array:
    """Cut to the range of what networks see."""
    seen: Array = np.clip(values, DARKEST, BRIGHTEST).astype(np.float32, copy=False)
    return seen


def z_of(seen: Array) -> Array:
    """What a network sees, as spreads of the brain above its mode."""
    z: Array = SPREADS_PER_UNIT * (seen - 1)
    return z
