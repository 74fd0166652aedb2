"""Real visits of MSLesSeg (Guarnera, Rondinella et al., Sci Data 12:920, 2025) as validation pairs, with what
is new by the masks of both visits.

Each visit was brought to MNI space on its own, so that two visits of a patient differ by an affine: it is
found and undone first. A mask shows all lesions of one visit: what lies in the later mask alone may be new,
or only drawn differently. It is new if its voxels got brighter, too.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import linalg, ndimage

from app.arrays import Array, Mask
from app.config import PreprocessConfig
from app.images import grids, storage
from app.method import preprocessing

RISE_Z = 1.0  # of a voxel, spreads of the brain, smoothed by `SMOOTHING_MM`
SMOOTHING_MM = 0.6
SMALLEST_MM3 = 10.0  # of a new piece
CLOSING_VOXELS = [3, 3, 3]  # sulci of a stripped scan are brain, too
WITHOUT_NEW = (
    "P14_T2_T3",
    "P2_T1_T2",
)  # their masks differ by drawing alone: what differs rises by 0.5 spreads at most


def pairs(folder: Path) -> list[tuple[str, int, int]]:
    """(patient, earlier visit, later visit) of neighbouring visits."""
    found = sorted(folder.glob("P*_T*_FLAIR.nii.gz"))
    visits = [(path.name.split("_")[0], int(path.name.split("_")[1][1:])) for path in found]
    return [(patient, visit, visit + 1) for patient, visit in visits if (patient, visit + 1) in visits]


def read_visit(folder: Path, patient: str, visit: int) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
    """FLAIR without skull, its brain, and the expert's mask of all lesions."""
    scan = storage.read(folder / f"{patient}_T{visit}_FLAIR.nii.gz")
    scan, brain = unstripped(scan)
    return scan, brain, storage.read_mask(folder / f"{patient}_T{visit}_MASK.nii.gz", scan)


def unstripped(scan: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
    """A scan whose skull was removed, with its exact zeros inside the brain raised to 1, and that brain.

    Some fluid of a stripped scan is exactly 0, which would read as beyond the field of view.
    """
    brain = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(scan > 0, CLOSING_VOXELS))
    return sitk.Mask(sitk.Maximum(scan, 1.0), brain), brain


def prepare_visits(
    folder: Path, patient: str, earlier: int, later: int
) -> dict[str, npt.NDArray[np.generic]]:
    """What training.prepare.prepare_pair returns, with the masks of both visits: `lesions` (2, z, y, x),
    earlier and later.
    """
    visits = [read_visit(folder, patient, visit) for visit in (earlier, later)]
    grid = grids.canonical_grid(visits[1][0], 1.0)
    ways = halfway(affine(visits[0], visits[1]))
    scans = [grids.resample(scan, grid, way) for (scan, _, _), way in zip(visits, ways, strict=True)]
    brains, lesions = (
        [
            sitk.GetArrayFromImage(sitk.Resample(visit[part], grid, way, sitk.sitkNearestNeighbor)) > 0
            for visit, way in zip(visits, ways, strict=True)
        ]
        for part in (1, 2)
    )
    pair = preprocessing.correct(scans[0], scans[1], brains[0] & brains[1], PreprocessConfig())
    (box,) = ndimage.find_objects(pair.brain.astype(np.uint8))
    box = tuple(slice(max(side.start - 8, 0), side.stop + 8) for side in box)
    channels, brain = pair.channels()[:, *box], pair.brain[box]
    marked = np.stack([mask[box] & brain for mask in lesions])
    arrays = {"channels": channels.astype(np.float16), "brain": brain, "lesions": marked}
    for order, before, after in (("forward", 0, 1), ("backward", 1, 0)):
        if f"{patient}_T{earlier}_T{later}" in WITHOUT_NEW:
            new, ignore = np.zeros_like(brain), np.zeros_like(brain)
        else:
            new = new_pieces(channels[[before, after]], marked[[before, after]])
            ignore = (marked[0] ^ marked[1]) & ~new
        arrays |= {f"truth_{order}": new, f"ignore_{order}": ignore}
    return arrays


def new_pieces(channels: Array, marked: npt.NDArray[np.bool_]) -> Mask:
    """Voxels of the later mask outside the earlier that got brighter, in pieces of more than `SMALLEST_MM3`.

    Both arguments are (2, z, y, x) at 1 mm.
    """
    rise = 4 * (
        ndimage.gaussian_filter(channels[1], SMOOTHING_MM)
        - ndimage.gaussian_filter(channels[0], SMOOTHING_MM)
    )
    labels, _ = ndimage.label(marked[1] & ~marked[0] & (rise > RISE_Z))
    large = np.bincount(labels.ravel()) > SMALLEST_MM3
    large[0] = False
    new: Mask = large[labels]
    return new


def affine(baseline: tuple[sitk.Image, ...], followup: tuple[sitk.Image, ...]) -> sitk.AffineTransform:
    """Twelve parameters from points of the follow-up to the baseline, by Mattes mutual information of the
    brains; each visit is (scan, brain, ...).
    """
    search = sitk.ImageRegistrationMethod()
    search.SetMetricAsMattesMutualInformation(32)
    search.SetMetricSamplingStrategy(search.REGULAR)
    search.SetMetricSamplingPercentage(0.2)
    search.SetMetricFixedMask(followup[1])
    search.SetInterpolator(sitk.sitkLinear)
    search.SetShrinkFactorsPerLevel([2, 1])
    search.SetSmoothingSigmasPerLevel([2, 0.7])
    search.SetOptimizerAsRegularStepGradientDescent(0.5, 1e-4, 200, relaxationFactor=0.6)
    search.SetOptimizerScalesFromPhysicalShift()
    start = sitk.AffineTransform(3)
    start.SetCenter(
        followup[0].TransformContinuousIndexToPhysicalPoint(
            [(side - 1) / 2 for side in followup[0].GetSize()]
        )
    )
    search.SetInitialTransform(start, inPlace=True)
    search.Execute(*(sitk.Cast(visit[0], sitk.sitkFloat32) for visit in (followup, baseline)))
    return start


def halfway(whole: sitk.AffineTransform) -> tuple[sitk.AffineTransform, sitk.AffineTransform]:
    """From points half way between both scans to the baseline and to the follow-up, so that both are
    interpolated alike.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(whole.GetMatrix(), (3, 3))
    matrix[:3, 3] = np.array(whole.TransformPoint((0, 0, 0)))
    half = np.real(linalg.sqrtm(matrix))

    def transform(homogeneous: npt.NDArray[np.float64]) -> sitk.AffineTransform:
        return sitk.AffineTransform(homogeneous[:3, :3].ravel().tolist(), homogeneous[:3, 3].tolist())

    return transform(half), transform(np.linalg.inv(half))
