"""How good is a mask? The measures of the MSSEG-2 challenge, as animaSegPerfAnalyzer (Anima, Inria) has them.

Masks and label images are arrays `(z, y, x)`, spacings `(z, y, x)` in mm. "Prediction" is what the tool calls
the test image. Sources: the tool's behaviour, and Commowick et al., "Objective evaluation of multiple
sclerosis lesion segmentation...", Scientific Reports 8:13650 (2018).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..arrays import Labels, Mask
from .distances import (
    Spacing,
    bounding_box,
    contour,
    contour_mean_distance_mm,
    hausdorff_distance_mm,
    indices,
    surface_distance_mm,
)

NO_LESION_MINIMUM_MM3 = 3.0  # where the reference is empty the tool uses this, whatever minimum it was given


@dataclass(frozen=True)
class DetectionRules:
    """When two lesions count as the same; the defaults are the challenge's."""

    minimum_volume_mm3: float = 3.0  # a lesion must be larger than this, or it is background
    alpha: float = 0.10  # more than this fraction of a lesion must be covered by the other mask
    beta: float = 0.70  # no lesion that covers it may lie outside by more than this fraction of itself ...
    gamma: float = 0.65  # ... until this fraction of the cover has been looked at, largest shares first


OFFICIAL = DetectionRules()


@dataclass(frozen=True)
class VoxelOverlap:
    """How the voxels of two masks or label images agree; the size of a lesion plays no part.

    With several labels the counts are sums over the labels. A voxel counts as shared where both images carry
    the same label.
    """

    shared: int  # voxels with the same label, background not counted
    predicted: int  # foreground voxels of the prediction
    reference: int  # foreground voxels of the reference
    background: int  # voxels that are background in both
    labels: int  # 1 for masks

    @property
    def jaccard(self) -> float:
        """Shared / union, where union = predicted + reference - shared. Anima's "Jaccard".

        0 to 1, higher is better. 0 if one mask is empty, nan if both are.
        """
        return _ratio(self.shared, self.predicted + self.reference - self.shared)

    @property
    def dice(self) -> float:
        """2 shared / (predicted + reference). Anima's "Dice".

        0 to 1, higher is better. 0 if one mask is empty, nan if both are.
        """
        return _ratio(2 * self.shared, self.predicted + self.reference)

    @property
    def sensitivity(self) -> float:
        """Shared / reference. Anima's "Sensitivity".

        0 to 1, higher is better. 0 if the prediction is empty, nan if the reference is.
        """
        return _ratio(self.shared, self.reference)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP / L), where L is the number of labels. Anima's "Specificity".

        0 to 1, higher is better. 1 if the prediction is empty, nan if no voxel is background.
        """
        return _ratio(self.background, self.background + (self.predicted - self.shared) / self.labels)

    @property
    def ppv(self) -> float:
        """Shared / predicted. Anima's "PPV".

        0 to 1, higher is better. 0 if the reference is empty, nan if the prediction is.
        """
        return _ratio(self.shared, self.predicted)

    @property
    def npv(self) -> float:
        """TN / (TN + FN / L), where L is the number of labels. Anima's "NPV".

        0 to 1, higher is better. 1 if the reference is empty, nan if no voxel is background.
        """
        return _ratio(self.background, self.background + (self.reference - self.shared) / self.labels)

    @property
    def relative_volume_error_percent(self) -> float:
        """100 (predicted - reference) / reference, in percent. Anima's "RelativeVolumeError".

        -100 upwards, 0 is best. -100 if the prediction is empty, nan if the reference is.
        """
        return _ratio(100 * (self.predicted - self.reference), self.reference)


@dataclass(frozen=True)
class MatchedLesion:
    """One lesion of one mask, seen against the other mask."""

    voxels: int
    volume_mm3: float
    detected: bool  # by the rules; for a predicted lesion: it is a true one
    overlap: float  # fraction of it that lesions of the other mask cover, 0 to 1
    centre: tuple[float, float, float]  # mean voxel index (z, y, x)


@dataclass(frozen=True)
class LesionMatches:
    """Which lesions of the reference were found, and which of the prediction are true."""

    reference: tuple[MatchedLesion, ...]  # largest first, as in the prediction
    predicted: tuple[MatchedLesion, ...]
    empty_reference: bool  # not one voxel, so that there is nothing to find

    @property
    def detected_lesions(self) -> int:
        """Lesions of the reference that were found. Higher is better; 0 if a mask is empty."""
        return sum(lesion.detected for lesion in self.reference)

    @property
    def sensl(self) -> float:
        """Detected reference lesions / reference lesions. Anima's "SensL".

        0 to 1, higher is better. nan if the reference is empty or all its lesions are too small; 0 if the
        prediction is empty.
        """
        return _ratio(self.detected_lesions, len(self.reference))

    @property
    def ppvl(self) -> float:
        """True predicted lesions / predicted lesions. Anima's "PPVL".

        0 to 1, higher is better. 0 if the prediction is empty or all its lesions are too small; nan if the
        reference is empty.
        """
        if self.empty_reference:
            return math.nan
        return sum(lesion.detected for lesion in self.predicted) / max(len(self.predicted), 1)

    @property
    def f1(self) -> float:
        """2 PPVL SensL / (PPVL + SensL). Anima's "F1_score".

        0 to 1, higher is better. 0 if both are 0 or SensL is nan; nan if the reference is empty.
        """
        if self.empty_reference:
            return math.nan
        total = self.ppvl + self.sensl
        return 2 * self.ppvl * self.sensl / total if total > 0 else 0.0

    @property
    def false_lesions(self) -> int:
        """Predicted lesions that are not true. With an empty reference, Anima's "NbTestedLesions".

        0 upwards, lower is better. All predicted lesions if the reference is empty; 0 if the prediction is.
        """
        return sum(not lesion.detected for lesion in self.predicted)

    @property
    def false_volume_mm3(self) -> float:
        """Volume of the predicted lesions that are not true, mm^3. With an empty reference, Anima's
        "VolTestedLesions".

        0 upwards, lower is better. 0 if the prediction is empty.
        """
        return sum((lesion.volume_mm3 for lesion in self.predicted if not lesion.detected), 0.0)


@dataclass(frozen=True)
class CaseMetrics:
    """Every measure of one case.

    Ranges, directions and empty masks: see the property or function of the same name.
    """

    jaccard: float
    dice: float
    sensitivity: float
    specificity: float
    ppv: float
    npv: float
    relative_volume_error_percent: float
    hausdorff_mm: float  # the three distances are nan if one mask is empty, or `distances=False`
    contour_mean_distance_mm: float
    surface_distance_mm: float
    ppvl: float
    sensl: float
    f1: float
    reference_lesions: int
    predicted_lesions: int
    detected_lesions: int  # of the reference
    missed_lesions: int  # of the reference
    true_lesions: int  # of the prediction
    false_lesions: int  # of the prediction
    false_volume_mm3: float
    reference_volume_mm3: float  # of all voxels, small lesions included
    predicted_volume_mm3: float


def evaluate(
    prediction: Mask,
    reference: Mask,
    spacing_mm: Spacing,
    rules: DetectionRules = OFFICIAL,
    distances: bool = True,
) -> CaseMetrics:
    """All measures of one case.

    `prediction` and `reference`: boolean `(z, y, x)` of one shape; `spacing_mm`: (z, y, x). `distances=False`
    saves their time. Raises ValueError if the shapes differ.
    """
    lesions = match_lesions(prediction, reference, spacing_mm, rules)
    return case_metrics(prediction, reference, spacing_mm, lesions, distances)


def case_metrics(
    prediction: Mask, reference: Mask, spacing_mm: Spacing, lesions: LesionMatches, distances: bool = True
) -> CaseMetrics:
    """All measures of one case whose lesions are matched already; otherwise as `evaluate`."""
    prediction, reference = np.asarray(prediction, np.bool_), np.asarray(reference, np.bool_)
    voxels = voxel_overlap(prediction.view(np.uint8), reference.view(np.uint8))
    hausdorff_mm = contour_mean_mm = surface_mm = math.nan
    if distances:
        contours = contour(prediction.view(np.uint8)), contour(reference.view(np.uint8))
        hausdorff_mm = hausdorff_distance_mm(prediction, reference, spacing_mm)
        contour_mean_mm = contour_mean_distance_mm(*contours, spacing_mm)
        surface_mm = surface_distance_mm(*contours, spacing_mm)
    voxel = voxel_mm3(spacing_mm)
    return CaseMetrics(
        jaccard=voxels.jaccard,
        dice=voxels.dice,
        sensitivity=voxels.sensitivity,
        specificity=voxels.specificity,
        ppv=voxels.ppv,
        npv=voxels.npv,
        relative_volume_error_percent=voxels.relative_volume_error_percent,
        hausdorff_mm=hausdorff_mm,
        contour_mean_distance_mm=contour_mean_mm,
        surface_distance_mm=surface_mm,
        ppvl=lesions.ppvl,
        sensl=lesions.sensl,
        f1=lesions.f1,
        reference_lesions=len(lesions.reference),
        predicted_lesions=len(lesions.predicted),
        detected_lesions=lesions.detected_lesions,
        missed_lesions=len(lesions.reference) - lesions.detected_lesions,
        true_lesions=len(lesions.predicted) - lesions.false_lesions,
        false_lesions=lesions.false_lesions,
        false_volume_mm3=lesions.false_volume_mm3,
        reference_volume_mm3=voxels.reference * voxel,
        predicted_volume_mm3=voxels.predicted * voxel,
    )


def voxel_mm3(spacing_mm: Spacing) -> float:
    """Volume of one voxel in mm^3.

    It is multiplied x first, as in the tool, so that a lesion of the minimum volume falls on the same side.
    """
    return spacing_mm[2] * spacing_mm[1] * spacing_mm[0]


def minimum_voxels(spacing_mm: Spacing, minimum_mm3: float) -> int:
    """The fewest voxels whose volume is strictly larger than `minimum_mm3`."""
    return math.floor(minimum_mm3 / voxel_mm3(spacing_mm)) + 1


def voxel_overlap(prediction: Labels, reference: Labels) -> VoxelOverlap:
    """Count how the voxels of two label images agree. Raises ValueError if the shapes differ."""
    _same_shape(prediction, reference)
    union = np.count_nonzero(prediction | reference)
    return VoxelOverlap(
        shared=int(np.count_nonzero((prediction == reference) & (reference > 0))),
        predicted=int(np.count_nonzero(prediction)),
        reference=int(np.count_nonzero(reference)),
        background=prediction.size - int(union),
        labels=max(int(prediction.max()), int(reference.max()), 1),
    )


def match_lesions(
    prediction: Mask, reference: Mask, spacing_mm: Spacing, rules: DetectionRules = OFFICIAL
) -> LesionMatches:
    """Match the lesions of two masks `(z, y, x)` by the rules of `detected`.

    A lesion is a component of the 6-neighbourhood larger than the minimum volume. Smaller ones are
    background, in both masks. Where the reference is empty that minimum is always 3 mm^3. Raises ValueError
    if the shapes differ.
    """
    _same_shape(prediction, reference)
    prediction, reference = np.asarray(prediction, np.bool_), np.asarray(reference, np.bool_)
    empty_reference = not reference.any()
    minimum_mm3 = NO_LESION_MINIMUM_MM3 if empty_reference else rules.minimum_volume_mm3
    voxel, minimum = voxel_mm3(spacing_mm), minimum_voxels(spacing_mm, minimum_mm3)
    box = bounding_box(prediction | reference)
    reference_labels, reference_sizes = components(reference[box], minimum)
    predicted_labels, predicted_sizes = components(prediction[box], minimum)
    table = overlap_table(reference_labels, predicted_labels)

    def lesions(
        labels: Labels, sizes: npt.NDArray[np.int64], overlaps: npt.NDArray[np.int64]
    ) -> tuple[MatchedLesion, ...]:
        points = indices(labels)
        owners = labels[tuple(points.T)]
        sums = [np.bincount(owners, weights=axis, minlength=sizes.size + 1)[1:] for axis in points.T]
        centres = np.stack(sums, axis=1) / sizes[:, None] + [side.start for side in box]
        found = detected(overlaps, rules)
        covered = overlaps[1:, 1:].sum(axis=1) / sizes
        return tuple(
            MatchedLesion(
                int(size), float(size * voxel), bool(is_found), float(part), (float(z), float(y), float(x))
            )
            for size, is_found, part, (z, y, x) in zip(sizes, found, covered, centres, strict=True)
        )

    return LesionMatches(
        reference=lesions(reference_labels, reference_sizes, table),
        predicted=lesions(predicted_labels, predicted_sizes, table.T),
        empty_reference=empty_reference,
    )


def components(mask: Mask, minimum: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Lesions of a mask: labels `(z, y, x)`, and the voxels of each lesion.

    Label 1 is the largest lesion; of equal ones, the first in raster order.

    Components of the 6-neighbourhood with fewer than `minimum` voxels become background.
    """
    labels, count = ndimage.label(mask)
    inside = labels[mask]
    sizes = np.bincount(inside, minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    kept = order[sizes[order] >= minimum]
    rank = np.zeros(count + 1, np.int32)
    rank[kept + 1] = np.arange(1, kept.size + 1)
    labels[mask] = rank[inside]
    return labels, sizes[kept]


def overlap_table(reference_labels: Labels, predicted_labels: Labels) -> npt.NDArray[np.int64]:
    """T[i, j]: voxels of reference lesion i and predicted lesion j, (lesions + 1, lesions + 1).

    0 is background; T[0, 0] is left 0.
    """
    rows, columns = int(reference_labels.max(initial=0)) + 1, int(predicted_labels.max(initial=0)) + 1
    lesions = (reference_labels | predicted_labels) > 0
    pairs = reference_labels[lesions].astype(np.int64) * columns + predicted_labels[lesions]
    return np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)


def detected(table: npt.NDArray[np.int64], rules: DetectionRules = OFFICIAL) -> Mask:
    """Which lesions of the rows are found by those of the columns: (lesions,) booleans.

    `table` is that of `overlap_table`, or its transpose. More than alpha of the lesion must be covered. Then
    those that cover it are visited, largest share first (of equal ones, the larger lesion), until they make
    up gamma of the cover. None of them may have more than beta of itself in the rows' background.
    """
    cover = table[1:, 1:]
    covered = cover.sum(axis=1)
    outside = table[0, 1:] / table[:, 1:].sum(axis=0)
    found: Mask = covered / table[1:].sum(axis=1) > rules.alpha
    for row in np.flatnonzero(found):
        weight = 0.0
        for column in np.argsort(-cover[row], kind="stable"):
            if weight >= rules.gamma:
                break
            if outside[column] > rules.beta:
                found[row] = False
                break
            weight += cover[row, column] / covered[row]
    return found


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _same_shape(prediction: npt.NDArray[np.generic], reference: npt.NDArray[np.generic]) -> None:
    if prediction.shape != reference.shape:
        raise ValueError(
            f"prediction of shape {prediction.shape}, reference of shape {reference.shape}; wanted one shape"
        )
