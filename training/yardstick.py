"""What networks are judged by: painted lesions first, then real pairs without change, real new lesions, and
the derived truth last.

Numbers that need a cut use, for each patient, the one that the other patients' painted pairs choose;
intervals are of 95 %.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from app.arrays import Array
from app.config import OperatingPoint
from training import operating_points
from training.cases import Case, patient_of
from training.marks import (
    FALSE_A_PAIR,
    FOUND,
    MOSTLY,
    Marked,
    false_marks,
    found,
    left_out_cuts,
    shapes_of_found,
)

SIZES_MM3 = (0.0, 30.0, 100.0, math.inf)
CONTRASTS_Z = (1.5, 2.5, 4.5)
CLEAR_MM3 = 30.0  # derived lesions from here on are mostly to be seen
# What a perfect second stage over the candidates of networks and t-maps reaches on the derived truth of 01
# and 03.
CEILING = "a perfect choice among the candidates of all networks and t-maps reaches F1 0.63, Dice 0.47"


def patients(marked: Sequence[Marked]) -> list[str]:
    return sorted({one.patient for one in marked})


def share_found(marked: Sequence[Marked], false_a_pair: float = FALSE_A_PAIR) -> tuple[float, float]:
    """Share of all painted lesions found, and false marks a pair, at the left-out cuts for so many false
    marks.
    """
    cuts = left_out_cuts(marked, false_a_pair)
    hits = np.concatenate([found(one, cuts[one.patient]) for one in marked])
    return float(hits.mean()), sum(false_marks(one, cuts[one.patient]) for one in marked) / len(marked)


def painted_lines(marked: Sequence[Marked], cuts: Mapping[str, float]) -> list[str]:
    """What is found of painted lesions, by size and contrast, with the false marks that it costs and the
    shapes of what is found.
    """
    hits = np.concatenate([found(one, cuts[one.patient]) for one in marked])
    volumes = np.concatenate([one.volumes_mm3 for one in marked])
    contrasts = np.concatenate([one.contrasts_z for one in marked])
    false = [false_marks(one, cuts[one.patient]) for one in marked]
    lines = [f"  painted lesions found: {share(hits)}; {sum(false) / len(marked):.2f} false marks a pair"]
    for low, high in itertools.pairwise(SIZES_MM3):
        lines.append(f"    {_range(low, high)} mm^3: {share(hits[(volumes >= low) & (volumes < high)])}")
    for low, high in itertools.pairwise(CONTRASTS_Z):
        lines.append(
            f"    {_range(low, high)} spreads: {share(hits[(contrasts >= low) & (contrasts < high)])}"
        )
    for patient in patients(marked):
        own = np.concatenate([found(one, cuts[patient]) for one in marked if one.patient == patient])
        count = [f for one, f in zip(marked, false, strict=True) if one.patient == patient]
        lines.append(f"    {patient}: {share(own)}; false marks {', '.join(map(str, count))}")
    shapes = np.concatenate([shapes_of_found(one, cuts[one.patient]) for one in marked])
    if len(shapes):
        dice, ratio = np.median(shapes, axis=0)
        lines.append(
            f"  of those found, median Dice {dice:.2f}, median volume {ratio:.2f} of their own "
            f"({len(shapes)})"
        )
    return lines


def quiet_lines(masks: Mapping[str, npt.NDArray[np.bool_]], cases: Sequence[Case]) -> list[str]:
    """Marks on real pairs without new lesions, and in the orders in which lesions only vanish."""
    counts = {case.name: _marks_elsewhere(masks[case.name], case) for case in cases if not case.has_new}
    return [f"  marks where nothing is new: {', '.join(f'{name} {count}' for name, count in counts.items())}"]


def real_lines(masks: Mapping[str, npt.NDArray[np.bool_]], cases: Sequence[Case]) -> list[str]:
    """Real new lesions found: all pieces of MSLesSeg's, and the derived ones of the other pairs from
    `CLEAR_MM3` on.
    """
    lines = []
    for case in cases:
        if case.has_new:
            labels, count = ndimage.label(case.truth)
            volumes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
            overlap = np.bincount(labels[masks[case.name]], minlength=count + 1)[1:]
            clear = volumes >= (CLEAR_MM3 if patient_of(case.name).startswith("patient") else 0)
            hits = int((overlap > FOUND * volumes)[clear].sum())
            elsewhere = _marks_elsewhere(masks[case.name], case)
            what = f"derived lesions of {CLEAR_MM3:g} mm^3 and more" if not clear.all() else "new pieces"
            lines.append(
                f"  {case.name}: {hits} of {int(clear.sum())} {what} found; {elsewhere} marks elsewhere"
            )
    return lines


def derived_lines(masks: Mapping[str, npt.NDArray[np.bool_]], cases: Sequence[Case]) -> list[str]:
    """The whole derived truth of the 2-D pairs, half of which does not show."""
    derived = [case for case in cases if patient_of(case.name).startswith("patient")]
    measures = {case.name: operating_points.measure(masks[case.name], case) for case in derived}
    f1, dice, false = operating_points.summary(measures, derived)
    return [
        f"  derived truth: mean F1 {f1:.3f}, Dice {dice:.3f}, false lesions "
        f"{sum(m.false_lesions for m in measures.values())}, "
        f"{false} where nothing is new; {CEILING}"
    ]


def lesion_dice(mask: npt.NDArray[np.bool_], lesions: npt.NDArray[np.bool_]) -> float:
    """Dice of all lesions of a visit with an expert's mask."""
    return float(2 * (mask & lesions).sum() / max(mask.sum() + lesions.sum(), 1))


def share(hits: npt.NDArray[np.bool_]) -> str:
    """'0.75 (0.70 to 0.79) of 440', Wilson's interval of 95 %."""
    count = len(hits)
    if count == 0:
        return "none to find"
    p, z = float(hits.mean()), 1.96
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    return f"{p:.2f} ({centre - half:.2f} to {centre + half:.2f}) of {count}"


def masks_of(
    probabilities: Mapping[str, Array], cases: Sequence[Case], points: Mapping[str, OperatingPoint]
) -> dict[str, npt.NDArray[np.bool_]]:
    """The mask of each case at its patient's operating point."""
    return {
        case.name: operating_points.found(
            probabilities[case.name], case.channels, points[patient_of(case.name)]
        )
        for case in cases
    }


def _marks_elsewhere(mask: npt.NDArray[np.bool_], case: Case) -> int:
    """Marks that touch nothing new and do not lie mostly where it is not known."""
    components, count = ndimage.label(mask)
    if count == 0:
        return 0
    numbers = np.arange(1, count + 1)
    touching = ndimage.maximum(case.truth, components, numbers) > 0
    unknown = ndimage.mean(case.truth | case.ignore, components, numbers) > MOSTLY
    return int((~touching & ~unknown).sum())


def _range(low: float, high: float) -> str:
    return f"{low:g} and more" if math.isinf(high) else f"{low:g} to {high:g}"
