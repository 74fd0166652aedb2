"""Lesions painted into the follow-up of real pairs: where the truth is known exactly, and scanner, position
and noise differ as they really do.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from app.arrays import Array, Mask
from app.intensity import SPREADS_PER_UNIT, in_range, z_of
from training.augmentation import uniform
from training.cases import Case, patient_of
from training.places import white_places
from training.synthesis.lesions import Shapes, draw_shape, put, read_shapes, resized

LESIONS = 44  # a case, where there is room: 440 in the ten cases
VISIBLE_Z = 0.5  # a voxel shows the lesion from here on; sizes are those of what shows
# of a lesion's height: where experts draw (P14's new lesions cross it within half a voxel of the drawn
# border)
BORDER = 0.5
CONTRASTS_Z = (1.5, 4.5)
APART_MM = 8  # one lesion from the next place, at least
CHOOSING_SEED, REPORTING_SEED = 101, 1  # other shapes and places for choosing than for reporting


@dataclass(frozen=True)
class Painted:
    """A pair with lesions painted into its follow-up."""

    name: str  # as Case.name
    channels: Array  # (2, z, y, x)
    brain: Mask
    labels: npt.NDArray[np.int32]  # (z, y, x), 0 or a painted lesion's number, where it shows
    inside: Mask  # (z, y, x), within the borders of the painted lesions, as an expert would draw them
    contrasts_z: list[float]  # of lesion 1, 2, ...
    known: Mask  # (z, y, x), really changed or ignored: what is found there is not counted

    @property
    def patient(self) -> str:
        return patient_of(self.name)


def painted(cases: Sequence[Case], prepared: Path, seed: int = REPORTING_SEED) -> list[Painted]:
    """Each case with lesions of its own."""
    shapes = read_shapes(prepared / "lesions.npz", torch.device("cpu"))
    return [
        paint(case, shapes, torch.Generator().manual_seed(seed + number)) for number, case in enumerate(cases)
    ]


def painted_cases(cases: Sequence[Case], prepared: Path) -> list[Case]:
    """The same for scoring as other cases are: the painted lesions are the truth, and what really changed is
    ignored.
    """
    return [
        dataclasses.replace(case, channels=pair.channels, truth=pair.labels > 0, ignore=pair.known)
        for case, pair in zip(cases, painted(cases, prepared), strict=True)
    ]


def paint(case: Case, shapes: Shapes, rng: torch.Generator) -> Painted:
    """Draw `LESIONS` places in white matter where both scans show nothing special, and paint a lesion at
    each.
    """
    z = [z_of(channel) for channel in case.channels]
    known = ndimage.binary_dilation(case.truth | case.ignore, iterations=2)
    free = white_places(z, case.brain).astype(float) * ~known
    excess = torch.zeros(case.brain.shape)
    labels, inside = np.zeros(case.brain.shape, np.int32), np.zeros(case.brain.shape, bool)
    contrasts: list[float] = []
    while len(contrasts) < LESIONS and free.any():
        chosen = torch.multinomial(torch.from_numpy(free[free > 0]), 1, generator=rng)
        spot = [int(axis[int(chosen)]) for axis in np.nonzero(free)]
        contrast = uniform(rng, *CONTRASTS_Z)
        lesion = contrast * resized(draw_shape(shapes, rng), uniform(rng, 0.8, 1.25), uniform(rng, 0.5, 0.9))
        box = tuple(
            slice(max(at - side // 2 - APART_MM, 0), at + side // 2 + APART_MM + 2)
            for at, side in zip(spot, lesion.shape, strict=True)
        )
        one = torch.zeros(case.brain[box].shape)
        put(one, lesion, [at - side.start for at, side in zip(spot, box, strict=True)])
        visible = (one.numpy() > VISIBLE_Z) & case.brain[box]
        free[box][ndimage.maximum_filter(visible, size=2 * APART_MM + 1)] = 0
        free[tuple(spot)] = 0
        if visible.any() and not (visible & known[box]).any():
            contrasts.append(contrast)
            labels[box][visible] = len(contrasts)
            inside[box] |= visible & (one.numpy() > BORDER * float(one.max()))
            excess[box] = torch.maximum(excess[box], one)
    # no lesion in fluid, and as sharp as the follow-up shows its own: it is painted on the scan as it is
    solid = 1 / (1 + np.exp(-3 * (z[1] + 1.8)))
    followup = in_range(1 + (z[1] + excess.numpy() * solid) / SPREADS_PER_UNIT) * case.brain
    channels = np.stack([case.channels[0], followup]).astype(np.float32)
    return Painted(case.name, channels, case.brain, labels, inside, contrasts, known)
