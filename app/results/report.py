"""One self-contained HTML page per patient: what is new, what may be, what could have been missed, and
whether the scans are fit to compare.

The page itself is in page/: page.html, page.css, page.js, text.txt, and NiiVue, the viewer.
This file fills it in.
"""

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from scipy import ndimage

from ..arrays import Labels, Mask
from ..files import temporary
from ..images import grids
from ..method import place
from ..method.change import KINDS
from ..method.findings import Findings
from ..method.lesions import Lesion
from ..method.preprocessing import Pair
from ..pipeline import Result
from . import picture, text
from .picture import Grey
from .text import NOBODY, Heading, Instances

PAGE = Path(__file__).resolve().parent / "page"
PAGES = Environment(
    loader=FileSystemLoader(PAGE),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
CROP_MM = 40.0  # a side
SHOWN = 50  # lesions with pictures; the tables and the viewer have them all
MARGIN_MM = 8.0  # round the brain, of what the page carries of the scans
STEP_MM = 3.0  # between the slices of the mosaic
COLUMNS = 6  # of the mosaic
THUMBNAILS = 5  # lesions on the cohort's page
WINDOWS = {
    "usual": picture.WHITE,
    "fluid": 1.4,
    "bright lesions": picture.BRIGHTEST,
}  # scaled intensity that is white
TIMES = ("baseline", "follow-up", "difference")
CLASSES = (*KINDS, "possible")  # of the viewer's outlines, from 1
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Plane:
    """A way to cut a head."""

    name: str
    seen_from: str
    axis: int  # across it
    sides: tuple[str, str]  # what lies left and right on screen


PLANES = (
    Plane("axial", "from above", 0, ("R", "L")),
    Plane("coronal", "from the front", 1, ("R", "L")),
    Plane("sagittal", "from the left", 2, ("A", "P")),
)


def page(result: Result, heading: Heading = NOBODY, instances: Instances = (None, None)) -> str:
    """The page as text. Its policy forbids it to load anything.

    It names no file, and no patient but what `heading` says.

    `instances` are DICOM's Instance Numbers of the slices of both scans.
    """
    script, niivue = (PAGE / "page.js").read_text(encoding="utf-8"), (PAGE / "niivue.umd.js").read_bytes()
    at = centres(result.shown, len(result.findings.all()))
    listed = [lesion for lesion in result.findings.all() if lesion.kind != "unchanged"]
    licences = ("niivue.LICENSE.txt", "niivue.bundled-LICENSES.txt")
    return PAGES.get_template("page.html").render(
        **text.said(result, heading, instances),
        text=text.text(result, heading, instances),
        policy=policy(script.encode(), niivue),
        style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        windows=WINDOWS,
        first_white=picture.WHITE,
        brightest=picture.BRIGHTEST,
        crop_mm=CROP_MM,
        times=TIMES,
        pictures=[_lesion(lesion, at[lesion.number - 1], result) for lesion in listed[:SHOWN]],
        left_out=len(listed) > SHOWN,
        projections=[_projection(plane, result) for plane in PLANES],
        mosaic=_mosaic(result),
        quality=_quality(result),
        alignment=_alignment(result),
        surface_mm=result.findings.surface_mm,
        periventricular=f"{place.PERIVENTRICULAR_MM:.0f}",
        cortex=f"{place.CORTEX_MM:.0f}",
        licences="\n".join((PAGE / name).read_text(encoding="utf-8") for name in licences),
        facts=_json(_facts(result, at)),
        volumes=_volumes(result),
        niivue=base64.b64encode(gzip.compress(niivue, mtime=0)).decode("ascii"),
        script=Markup(script),
    )


def centres(labels: Labels, count: int) -> list[tuple[int, int, int] | None]:
    """Of lesions 1 to `count`, the voxel (z, y, x) nearest to the centre, which may lie outside a bent one.

    None where no voxel's centre is in the lesion.
    """
    found: list[tuple[int, int, int] | None] = [None] * count
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            voxels = np.argwhere(labels[box] == number)
            nearest = voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
            z, y, x = (int(at + side.start) for at, side in zip(nearest, box, strict=True))
            found[number - 1] = (z, y, x)
    return found


def classes(findings: Findings, labels: Labels) -> npt.NDArray[np.uint8]:
    """The class of each voxel of numbered lesions: 0, or 1 + its place in `CLASSES`."""
    table = [0, *(1 + CLASSES.index(lesion.kind) for lesion in findings.all())]
    found: npt.NDArray[np.uint8] = np.array(table, dtype=np.uint8)[labels]
    return found


def rings(classed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A line one voxel wide about each lesion, of its class, so that the lesion itself stays in sight."""
    around = ndimage.maximum_filter(classed, footprint=ndimage.generate_binary_structure(3, 2))
    return np.where(classed == 0, around, 0).astype(np.uint8)


def _facts(result: Result, at: list[tuple[int, int, int] | None]) -> dict[str, object]:
    """What page.js needs to know."""
    grid = _placed(result)
    places = [
        lesion.centre_ras_mm if voxel is None else grids.to_ras_mm(grid, voxel)
        for lesion, voxel in zip(result.findings.all(), at, strict=True)
    ]
    return {
        "brightest": picture.BRIGHTEST,
        "classes": CLASSES,
        "lesions": [
            {"number": number, "shown_at_ras_mm": [round(side, 2) for side in place_mm]}
            for number, place_mm in enumerate(places, start=1)
        ],
    }


def _lesion(lesion: Lesion, at: tuple[int, int, int] | None, result: Result) -> dict[str, Any]:
    """A lesion's pictures: in each plane baseline, follow-up, difference, and the outlines drawn on them."""
    if at is None:
        return {"lesion": lesion, "planes": []}
    pair = result.pair
    half_width = round(CROP_MM / 2 / min(grids.spacing_mm(pair.grid)))
    planes = []
    for plane in PLANES:
        images = [
            picture.crop(pair.baseline, plane.axis, at, half_width),
            picture.crop(pair.followup, plane.axis, at, half_width),
            picture.difference(pair, plane.axis, at, half_width),
        ]
        planes.append(
            {
                "name": plane.name,
                "sides": plane.sides,
                "images": [base64.b64encode(picture.png(image)).decode("ascii") for image in images],
                "drawn": _drawn(
                    picture.plane(result.shown, plane.axis, at, half_width), result, lesion.number
                ),
            }
        )
    return {"lesion": lesion, "planes": planes}


def _drawn(labels: Labels, result: Result, chosen: int | None = None) -> dict[str, Any]:
    """The outlines of the lesions of a picture (rows, columns), as SVG paths in its pixels."""
    rows, columns = labels.shape
    kinds = {lesion.number: lesion.kind for lesion in result.findings.all()}
    paths = [
        {"kind": kinds[number], "chosen": number == chosen, "d": picture.outline_path(labels == number)}
        for number in np.setdiff1d(labels, 0).tolist()
    ]
    return {"rows": rows, "columns": columns, "paths": paths}


def _projection(plane: Plane, result: Result) -> dict[str, Any]:
    """The brain's outline and the first lesions but the unchanged, seen through."""
    box = _box(result.pair)
    labels = result.shown[box]

    def through(mask: Mask) -> Mask:
        flat: Mask = np.asarray(mask.any(axis=plane.axis))
        return flat if plane.axis == 0 else flat[::-1]  # upwards in the others

    marks = []
    boxes = ndimage.find_objects(labels, max_label=len(result.findings.all()))
    listed = [lesion for lesion in result.findings.all() if lesion.kind != "unchanged"]
    for lesion in listed[:SHOWN]:
        lesion_box = boxes[lesion.number - 1]
        if lesion_box is None:
            continue
        mark = np.zeros(labels.shape, dtype=bool)
        mark[lesion_box] = labels[lesion_box] == lesion.number
        seen = through(mark)
        rows, columns = np.nonzero(seen)
        number_at = {"x": int(columns.max()) + 2, "y": int(rows.min())}
        marks.append(
            {"number": lesion.number, "kind": lesion.kind, "d": picture.outline_path(seen), **number_at}
        )
    outline = through(result.pair.brain[box])
    return {
        "name": plane.seen_from,
        "sides": plane.sides,
        "rows": outline.shape[0],
        "columns": outline.shape[1],
        "brain": picture.outline_path(outline),
        "marks": marks,
    }


def _mosaic(result: Result) -> dict[str, Any]:
    """Axial slices of the follow-up every `STEP_MM`, each with the marks from it to the next."""
    box = _box(result.pair)
    followup, classed = result.pair.followup[box], classes(result.findings, result.shown[box])
    step = max(round(STEP_MM / grids.spacing_mm(result.pair.grid)[0]), 1)
    starts = range(0, len(followup), step)
    slabs = np.stack([classed[start : start + step].max(axis=0) for start in starts])
    sheet = picture.mosaic(picture.grey(followup), starts, COLUMNS)
    marked = picture.mosaic(slabs, range(len(slabs)), COLUMNS)
    return {
        "rows": sheet.shape[0],
        "columns": sheet.shape[1],
        "paths": [
            {"kind": kind, "d": picture.outline_path(marked == place)}
            for place, kind in enumerate(CLASSES, start=1)
            if (marked == place).any()
        ],
        "image": base64.b64encode(picture.jpeg(sheet)).decode("ascii"),
        "step_mm": step * grids.spacing_mm(result.pair.grid)[0],
    }


def _quality(result: Result) -> list[tuple[str, tuple[str, str]]]:
    """What was measured of each scan: what, and in words for baseline and follow-up."""
    before, after = result.quality
    return [
        ("grid", (before.grid, after.grid)),
        ("noise, of the brain's signal", (f"{before.noise_percent:.1f} %", f"{after.noise_percent:.1f} %")),
        (
            "edges within slices are blurred over",
            (f"{before.edge_width_mm:.1f} mm", f"{after.edge_width_mm:.1f} mm"),
        ),
    ]


def _alignment(result: Result) -> list[str]:
    brain_ml = np.count_nonzero(result.pair.brain) * grids.voxel_mm3(result.pair.grid) / 1000
    lines = [
        f"Alignment: {result.aligned.in_words()}",
        f"Brain seen in both scans: {brain_ml:.0f} ml, {100 * result.pair.shared:.0f} % of what was found.",
    ]
    if result.pair.missing is not None:
        most_mm = float(max(result.pair.missing)) * grids.spacing_mm(result.pair.grid)[0]
        lines.append(
            f"Detail: the follow-up shows less, as if blurred by {most_mm:.1f} mm more than the baseline "
            "(standard deviation). It was compared sharpened, with a baseline blurred by the rest."
        )
    return lines


def _box(pair: Pair) -> Box:
    """The brain and a margin: (z, y, x)."""
    margins = [round(MARGIN_MM / side) for side in grids.spacing_mm(pair.grid)]
    brain = ndimage.find_objects(pair.brain.astype(np.uint8))[0]
    z, y, x = (
        slice(max(side.start - margin, 0), side.stop + margin)
        for side, margin in zip(brain, margins, strict=True)
    )
    return z, y, x


def _placed(result: Result) -> sitk.Image:
    """The pair's grid where its voxels lie in the follow-up."""
    return grids.moved_grid(result.pair.grid, result.aligned.to_followup)


def _volumes(result: Result) -> dict[str, str]:
    """What the viewer shows, each as base64 of a .nii.gz file."""
    outlines = rings(classes(result.findings, result.shown))
    return {
        "baseline": _volume(picture.grey(result.pair.baseline), result),
        "followup": _volume(picture.grey(result.pair.followup), result),
        "outlines": _volume(outlines, result),
    }


def _volume(values: Grey, result: Result) -> str:
    """A volume (z, y, x) of the pair, cut to the box, in the follow-up's space."""
    whole = grids.like(values, _placed(result))
    z, y, x = _box(result.pair)
    with temporary() as folder:
        path = folder / "volume.nii.gz"
        sitk.WriteImage(whole[x, y, z], str(path), useCompression=True)
        return base64.b64encode(path.read_bytes()).decode("ascii")


def policy(*scripts: bytes, images: str = "data: blob:") -> str:
    """A Content-Security-Policy that lets these scripts run, and nothing be loaded but such `images`."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'" for script in scripts
    )
    return Markup(
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src {images}; "
        "base-uri 'none'; form-action 'none'"
    )


def thumbnails(result: Result) -> Grey:
    """Axial crops of the follow-up at the first new lesions, side by side; one black picture without."""
    at = centres(result.shown, len(result.findings.all()))
    half_width = round(CROP_MM / 2 / min(grids.spacing_mm(result.pair.grid)))
    crops = [
        picture.crop(result.pair.followup, 0, voxel, half_width, picture.WHITE)
        for voxel in at[: min(len(result.lesions), THUMBNAILS)]
        if voxel is not None
    ]
    side = 2 * half_width * picture.FINER
    strip: Grey = np.concatenate(crops, axis=1) if crops else np.zeros((side, side), dtype=np.uint8)
    return strip


def _json(content: object) -> str:
    """JSON that cannot end the script element that holds it."""
    return Markup(json.dumps(content).replace("<", "\\u003c"))
