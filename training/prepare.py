"""From the open data's folders to the compact arrays that training reads: heads, lesion shapes, real scans,
validation pairs.

    python -m training.prepare --data ../shared/data --out runs/prepared

Every array is `(z, y, x)` at 1 mm, axes running to superior, posterior and left. Patients 01, 03, P14 and P2
judge the networks that are not trained on them (training/folds.py).
"""

import argparse
import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from scipy import ndimage

from app.arrays import Mask
from app.config import PreprocessConfig
from app.errors import InputError
from app.images import grids, storage
from app.method import preprocessing
from app.method.brain import BrainExtractor
from training import commands, mslesseg
from training.labels import TISSUES
from training.places import depth_of, places

logger = logging.getLogger(__name__)

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
VALIDATION = ("patient01", "patient03")
MARGIN_MM = 8
EVERY_SIMULATED = 12  # files; they hold two lesions each, and reading all takes ten minutes
LARGEST_SHAPE_MM = 32  # a side; longer confluent masks do not fit a patch
SHAPE_VOLUMES_MM3 = (8, 3_000)

TISSUE = {name: number for number, name in enumerate(TISSUES)}
LIKELY = {
    "white": 1.0,
    "cerebellar_white": 0.35,
    "stem": 0.2,
    "thalamus": 0.15,
    "ventral": 0.1,
    "grey": 0.05,
    "cerebellar_grey": 0.03,
}

Arrays = dict[str, npt.NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with open_ms_data, open_ms_pairs, SynthSeg, MSLesionSimulator",
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_open_data(arguments.data, arguments.out)


def prepare_open_data(data: Path, out: Path) -> None:
    """Write `scans`, `thick`, `pairs`, `heads` (`*.npz` each) and `lesions.npz`; what is there already is
    kept. Raises InputError without data.
    """
    for name, scan, brain, lesions, all_marked in training_scans(data):
        save_arrays(
            out / "scans" / f"{name}.npz", functools.partial(prepare_scan, scan, brain, lesions, all_marked)
        )
    for name, scan, brain, lesions in thick_scans(data):
        save_arrays(
            out / "thick" / f"{name}.npz", functools.partial(prepare_scan, scan, brain, lesions, True)
        )
    for patient, earlier, later in mslesseg.pairs(data / "mslesseg"):
        make = functools.partial(mslesseg.prepare_visits, data / "mslesseg", patient, earlier, later)
        save_arrays(out / "pairs" / f"{patient}_T{earlier}_T{later}.npz", make)
    for name in VALIDATION:
        save_arrays(
            out / "pairs" / f"{name}.npz",
            functools.partial(prepare_pair, data / "open_ms_pairs" / name, PreprocessConfig()),
        )
    save_arrays(
        out / "lesions.npz",
        lambda: pack_shapes(itertools.chain.from_iterable(shapes(mask) for mask in lesion_masks(data))),
    )
    maps = sorted((data / "SynthSeg" / "training_label_maps").glob("*.nii.gz"))
    if not maps:
        raise InputError(
            f"{data}: no SynthSeg/training_label_maps/*.nii.gz; wanted the open data of training/README.md"
        )
    for path in maps:
        save_arrays(
            out / "heads" / f"{path.name.removesuffix('.nii.gz')}.npz", functools.partial(_read_head, path)
        )


def longitudinal_scans(data: Path) -> Iterator[tuple[str, sitk.Image, sitk.Image, sitk.Image]]:
    """(patient, FLAIR with skull, brain mask, mask of marked changes) of the patients of 2-D scans who do not
    validate.
    """
    longitudinal = data / "open_ms_data" / "longitudinal"
    for raw in sorted((longitudinal / "raw").glob("patient*/study*_FLAIR.nii.gz")):
        patient = raw.parent.name
        if patient in VALIDATION:
            continue
        scan = storage.read(raw)
        common = longitudinal / "coregistered" / patient
        to_scan = sitk.ReadTransform(
            str(common / raw.name.replace(".nii.gz", "_to_common_space.txt"))
        ).GetInverse()
        masks = [storage.read_mask(common / name) for name in ("brainmask.nii.gz", "gt.nii.gz")]
        brain, changes = [sitk.Resample(mask, scan, to_scan, sitk.sitkNearestNeighbor) for mask in masks]
        yield patient, scan, brain, changes


def training_scans(data: Path) -> Iterator[tuple[str, sitk.Image, sitk.Image, sitk.Image, bool]]:
    """(name, FLAIR, brain mask, lesion mask, whether that has all lesions) of the real scans for training,
    each on the scan's grid.
    """
    for patient, scan, brain, changes in longitudinal_scans(data):
        yield patient, scan, brain, changes, False
    for path in sorted((data / "open_ms_data" / "cross_sectional" / "MNI").glob("patient*/FLAIR*.nii.gz")):
        scan = storage.read(path)
        gold = storage.read_mask(next(path.parent.glob("GOLD_STANDARD*.nii.gz")), scan)
        scan, brain = mslesseg.unstripped(scan)
        yield f"cross_{path.parent.name}", scan, brain, gold, True
    for path in sorted((data / "mslesseg").glob("P18_T1_FLAIR.nii.gz")):
        yield "P18_T1", *mslesseg.read_visit(path.parent, "P18", 1), True
    find_brain = BrainExtractor.from_file(WEIGHTS / "brain.pt", torch.device("cpu"))
    for path in sorted(
        (data / "py_synthsr").glob("FLAIR.nii.gz")
    ):  # the one 3-D FLAIR; its lesions, if it has any, are not marked
        scan = storage.read(path)
        yield (
            "isotropic",
            scan,
            find_brain(scan),
            grids.like(np.zeros_like(grids.array(scan), dtype=bool), scan),
            False,
        )


def thick_scans(data: Path) -> Iterator[tuple[str, sitk.Image, sitk.Image, sitk.Image]]:
    """(name, FLAIR, brain mask, mask of all lesions) of the Tabriz heads: slices of 6 to 8 mm."""
    find_brain = BrainExtractor.from_file(WEIGHTS / "brain.pt", torch.device("cpu"))
    for path in sorted((data / "tabriz").glob("*_FLAIR.nii.gz")):
        scan = sitk.Maximum(
            sitk.Cast(storage.read(path), sitk.sitkFloat32), 0.0
        )  # ringing is negative; N4 takes logarithms
        name = path.name.removesuffix("_FLAIR.nii.gz")
        yield name, scan, find_brain(scan), storage.read_mask(path.parent / f"{name}_LESION.nii.gz", scan)


def lesion_masks(data: Path) -> Iterator[Mask]:
    """Masks of lesions at 1 mm whose outlines are painted elsewhere: some of the simulated ones, and the gold
    standard of 30 other patients.
    """
    simulated = sorted((data / "MSLesionSimulator" / "labels-database").glob("*/*.nii.gz"))
    gold = sorted((data / "open_ms_data" / "cross_sectional" / "MNI").glob("patient*/GOLD_STANDARD*.nii.gz"))
    for path in [*simulated[::EVERY_SIMULATED], *gold]:
        yield sitk.GetArrayFromImage(storage.read_mask(path)) > 0


def _read_head(path: Path) -> Arrays:
    return prepare_head(storage.read(path))


def shapes(mask: Mask) -> Iterator[Mask]:
    """The components of a mask, each cut out, if neither too small nor too large."""
    if not mask.any():
        return
    labels, _ = ndimage.label(mask[box_around(mask, 0)], structure=np.ones((3, 3, 3)))
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        component: Mask = labels[box] == number
        smallest, largest = SHAPE_VOLUMES_MM3
        if smallest <= np.count_nonzero(component) <= largest and max(component.shape) <= LARGEST_SHAPE_MM:
            yield component


def pack_shapes(components: Iterator[Mask]) -> Arrays:
    """Many small masks in three arrays: `bits` of all one after the other (each padded to bytes), `sides` (n,
    3), `volumes_mm3` (n,).
    """
    kept = list(components)
    return {
        "bits": np.concatenate([np.packbits(component.ravel()) for component in kept]),
        "sides": np.array([component.shape for component in kept], dtype=np.uint8),
        "volumes_mm3": np.array([np.count_nonzero(component) for component in kept], dtype=np.int32),
    }


def prepare_head(label_map: sitk.Image) -> Arrays:
    """`tissues`, `depth` and `place` of a whole-head label map at 1 mm, cut to the brain."""
    labels = grids.array(sitk.DICOMOrient(label_map, "LPS")).astype(np.int32)
    table = np.zeros(labels.max() + 1, dtype=np.uint8)
    for name, numbers in TISSUES.items():
        table[[number for number in numbers if number < len(table)]] = TISSUE[name]
    tissues = table[labels]
    # a brain extraction fills the sulci and leaves out most CSF over them
    solid = ndimage.binary_opening((tissues > 0) & (tissues != TISSUE["csf"]))
    box = box_around(solid, MARGIN_MM)
    tissues, solid = tissues[box], solid[box]
    near = ndimage.distance_transform_edt(~solid) < 5
    brain = ndimage.binary_fill_holes(
        solid | (ndimage.distance_transform_edt(near) > 4.5)
    )  # a closing by a ball
    likely = np.array([LIKELY.get(name, 0.0) for name in TISSUES])
    return {
        "tissues": tissues,
        "depth": depth_of(brain),
        "place": places(likely[tissues] * brain, tissues == TISSUE["ventricle"]),
    }


def prepare_scan(scan: sitk.Image, brain: sitk.Image, lesions: sitk.Image, all_marked: bool) -> Arrays:
    """`values` (as the network sees them), `depth`, `place` and `lesions` (0, or a lesion's number) of a real
    scan, cut to the brain.

    `all_marked` goes with them: whether what is not marked is no lesion.
    """
    grid = grids.canonical_grid(scan, 1.0)
    scan_mm = grids.resample(scan, grid)
    brain_mm = sitk.Resample(brain, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
    marked = grids.array(grids.resample(sitk.Cast(lesions, sitk.sitkFloat32), grid)) > 0.5
    pair = preprocessing.correct(scan_mm, scan_mm, grids.array(brain_mm) > 0, PreprocessConfig())
    box = box_around(pair.brain, MARGIN_MM)
    values, inside = pair.channels()[0][box], pair.brain[box]
    depth = depth_of(ndimage.binary_fill_holes(inside))
    z = 4 * (ndimage.gaussian_filter(values, 1.0) - 1)
    numbers, count = ndimage.label(marked[box] & inside)
    # a marked change that this scan does not show bright is not there to be erased
    shown = np.full(count + 1, True) if all_marked else ndimage.mean(z, numbers, np.arange(count + 1)) > 1.0
    shown[0] = False
    numbers = np.where(shown[numbers], numbers % 255 + (numbers % 255 == 0), 0).astype(np.uint8)
    white = (np.abs(z + 0.3) < 1.3) & (depth > 2 * 5) & (numbers == 0)
    ventricle = ndimage.binary_opening((z < -2.2) & (depth > 2 * 20), iterations=1)
    place = places(white.astype(float), ventricle)
    return {
        "values": values.astype(np.float16),
        "depth": depth,
        "place": place,
        "lesions": numbers,
        "all_marked": np.array(all_marked),
    }


def prepare_pair(folder: Path, config: PreprocessConfig) -> Arrays:
    """`channels`, `brain`, and truth and ignore zone of both time orders, on the network's grid (masks by
    nearest neighbour).
    """
    scans = [storage.read(folder / f"flair_time0{time}_on_middle_space.nii.gz") for time in (1, 2)]
    grid = grids.canonical_grid(scans[1], config.spacing_mm)
    brain = sitk.Resample(
        storage.read_mask(folder / "brain_mask.nii.gz"), grid, sitk.Transform(), sitk.sitkNearestNeighbor
    )
    pair = preprocessing.correct(
        grids.resample(scans[0], grid), grids.resample(scans[1], grid), grids.array(brain) > 0, config
    )
    box = box_around(pair.brain, MARGIN_MM)

    def mask(name: str) -> Mask:
        on_grid = sitk.Resample(
            storage.read_mask(folder / f"{name}.nii.gz"), grid, sitk.Transform(), sitk.sitkNearestNeighbor
        )
        return sitk.GetArrayFromImage(on_grid)[box] > 0  # type: ignore[no-any-return]

    return {
        "channels": pair.channels()[:, *box].astype(np.float16),
        "brain": pair.brain[box],
        "truth_forward": mask("ground_truth_rising_visible"),
        "truth_backward": mask("ground_truth_falling_visible"),
        "ignore_forward": mask("ignore_forward"),
        "ignore_backward": mask("ignore_backward"),
    }


def box_around(mask: Mask, margin: int) -> tuple[slice, ...]:
    """The box around a mask, with a margin where the array has it."""
    (found,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in found)


def save_arrays(path: Path, make: Callable[[], Arrays]) -> None:
    """Write arrays aside, then rename; what exists is kept, so that a stopped preparation goes on where it
    was.
    """
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, allow_pickle=False, **make())
    unfinished.replace(path)
    logger.info("%s", path)


if __name__ == "__main__":
    commands.run(main)
