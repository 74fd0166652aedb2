"""One self-contained HTML page per patient: how many new lesions, where, and what they look like at both times.

The page itself is in page/: page.html, page.css, page.js, and NiiVue, the viewer. This file fills it in.
"""

import base64
import gzip
import hashlib
import html
import json
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from .. import __version__
from ..arrays import Labels
from ..images import grids
from ..method import lesions, place
from ..method.lesions import Lesion
from ..method.preprocessing import Pair
from ..pipeline import Result
from . import picture

PAGE = Path(__file__).resolve().parent / "page"
HALF_WIDTH = 40  # voxels of the working grid, about 1 mm, round a lesion's centre
SHOWN = 50  # lesions with pictures; the table and the viewer have them all
MARGIN_MM = 8.0  # round the brain, of what the page carries of the scans
LARGEST = 255  # the viewer's labels are bytes; lesions beyond it are drawn like the last
PLANES = (
    ("axial", 0, "R", "L"),
    ("coronal", 1, "R", "L"),
    ("sagittal", 2, "A", "P"),
)  # axis across, what lies left and right on screen

Grey = npt.NDArray[np.uint8]


def page(result: Result) -> str:
    """The page as text. It names no file and no patient, and its policy forbids it to load anything."""
    labels = lesions_in_middle_space(result)
    centres = [shown_at(lesion.number, labels) for lesion in result.lesions]
    script, niivue = (PAGE / "page.js").read_text(encoding="utf-8"), (PAGE / "niivue.umd.js").read_bytes()
    box = _box(result.pair)
    volumes = {
        "baseline_volume": _volume(_grey(result.pair.baseline), result, box),
        "followup_volume": _volume(_grey(result.pair.followup), result, box),
        "lesions_volume": _volume(np.minimum(labels, LARGEST).astype(np.uint8), result, box),
    }
    return Template((PAGE / "page.html").read_text(encoding="utf-8")).substitute(
        policy=_policy(script.encode(), niivue),
        style=(PAGE / "page.css").read_text(encoding="utf-8"),
        headline=html.escape(result.in_words()),
        lesions=_table(result.lesions),
        pictures=_pictures(result, labels, centres),
        quality=_quality(result),
        periventricular=f"{place.PERIVENTRICULAR_MM:.0f}",
        cortex=f"{place.CORTEX_MM:.0f}",
        version=__version__,
        licences=html.escape(
            "\n".join(
                (PAGE / name).read_text(encoding="utf-8")
                for name in ("niivue.LICENSE.txt", "niivue.bundled-LICENSES.txt")
            )
        ),
        facts=_json(_facts(result, centres)),
        niivue=base64.b64encode(gzip.compress(niivue, mtime=0)).decode("ascii"),
        script=script,
        **volumes,
    )


def lesions_in_middle_space(result: Result) -> Labels:
    """The lesions' numbers on the grid of the pair: (z, y, x), 0 elsewhere."""
    numbered = grids.like(lesions.numbered(grids.array(result.mask) > 0), result.mask)
    resampled = grids.labels_on(numbered, result.pair.grid, result.aligned.to_followup)
    labels: Labels = sitk.GetArrayFromImage(resampled)
    return labels


def shown_at(number: int, labels: Labels) -> tuple[int, int, int] | None:
    """The voxel (z, y, x) of a lesion nearest to its centre, which may itself lie outside a bent one. None if no voxel's centre is in the lesion."""
    voxels = np.argwhere(labels == number)
    if len(voxels) == 0:
        return None
    z, y, x = voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()].tolist()
    return z, y, x


def _facts(result: Result, centres: list[tuple[int, int, int] | None]) -> dict[str, object]:
    """What page.js needs to know."""
    grid = _placed(result)
    places = [
        lesion.centre_ras_mm if at is None else grids.to_ras_mm(grid, at)
        for lesion, at in zip(result.lesions, centres, strict=True)
    ]
    return {
        "lesions": [
            {"number": lesion.number, "shown_at_ras_mm": [round(side, 2) for side in place_mm]}
            for lesion, place_mm in zip(result.lesions, places, strict=True)
        ]
    }


def _table(found: list[Lesion]) -> str:
    if not found:
        return "<p>No new lesion was found.</p>"
    rows = "".join(
        f'<tr data-lesion="{lesion.number}" tabindex="0"><td>{lesion.number}</td><td class="words">{_place(lesion)}</td>'
        f"<td>{lesion.volume_mm3:.0f}</td><td>{lesion.diameter_mm:.1f}</td><td>{_millimetres(lesion.centre_ras_mm)}</td>"
        f"<td>{lesion.mean_probability:.2f}</td><td>{lesion.peak_probability:.2f}</td></tr>"
        for lesion in found
    )
    return (
        '<table><thead><tr><th>lesion</th><th class="words">where</th><th>volume, mm³</th><th>diameter, mm</th>'
        "<th>centre, mm<br>(right, anterior, superior)</th><th>mean<br>probability</th><th>peak<br>probability</th></tr></thead>"
        f'<tbody>{rows}</tbody></table><p class="note screen-only">Click a row to see the lesion in the viewer.</p>'
    )


def _place(lesion: Lesion) -> str:
    return html.escape(lesion.place.in_words()) if lesion.place else "not known"


def _millimetres(ras_mm: tuple[float, float, float]) -> str:
    return ", ".join(str(round(side)) for side in ras_mm).replace("-", "−")


def _quality(result: Result) -> str:
    before, after = result.quality
    brain_ml = np.count_nonzero(result.pair.brain) * grids.voxel_mm3(result.pair.grid) / 1000
    scans = (
        ("grid", before.grid, after.grid),
        ("noise, of the brain's signal", f"{before.noise_percent:.1f} %", f"{after.noise_percent:.1f} %"),
        (
            "edges within slices are blurred over",
            f"{before.edge_width_mm:.1f} mm",
            f"{after.edge_width_mm:.1f} mm",
        ),
    )
    rows = "".join(
        f'<tr><td class="words">{name}</td><td class="words">{one}</td><td class="words">{other}</td></tr>'
        for name, one, other in scans
    )
    warnings = "".join(f'<p class="warning">{html.escape(warning)}</p>' for warning in result.warnings)
    return (
        f'{warnings or "<p>No warnings.</p>"}<table><thead><tr><th></th><th class="words">baseline</th><th class="words">follow-up</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        f"<p>Alignment: {html.escape(result.aligned.in_words())} Brain seen in both scans: {brain_ml:.0f} ml.</p>"
    )


def _pictures(result: Result, labels: Labels, centres: list[tuple[int, int, int] | None]) -> str:
    if not result.lesions:
        return "<p>Nothing to show.</p>"
    shown = [
        _lesion(lesion, at, result, labels)
        for lesion, at in list(zip(result.lesions, centres, strict=True))[:SHOWN]
    ]
    left_out = (
        f'<p class="note">Pictures of the {SHOWN} largest lesions only; the table and the viewer have all.</p>'
        if len(result.lesions) > SHOWN
        else ""
    )
    return "".join(shown) + left_out


def _lesion(lesion: Lesion, at: tuple[int, int, int] | None, result: Result, labels: Labels) -> str:
    """A lesion's slices: where they lie, and the three planes at both times."""
    title = f"<h3>Lesion {lesion.number}: {_place(lesion)}, {lesion.volume_mm3:.0f} mm³</h3>"
    if at is None:
        return f'<div class="lesion" data-lesion="{lesion.number}">{title}<p>Too small to be drawn.</p></div>'
    pair = result.pair
    pairs = []
    for plane, axis, left, right in PLANES:
        outlines = _outlines(picture.plane(labels, axis, at, HALF_WIDTH), lesion.number)
        sides = "".join(
            f"<figure>{_picture(picture.plane(_grey(scan), axis, at, HALF_WIDTH), outlines, left, right, f'{plane}, {time}')}"
            f"<figcaption>{plane}, {time}</figcaption></figure>"
            for time, scan in (("baseline", pair.baseline), ("follow-up", pair.followup))
        )
        pairs.append(f'<div class="pair">{sides}</div>')
    slices = _whole(lesion.number, at, pair, labels) + "".join(pairs)
    return (
        f'<div class="lesion" data-lesion="{lesion.number}">{title}<div class="slices">{slices}</div></div>'
    )


def _whole(number: int, at: tuple[int, int, int], pair: Pair, labels: Labels) -> str:
    """The whole axial slice of the follow-up, with a square where the other pictures look."""
    _, rows, columns = _box(pair)
    outlines = _outlines(labels[at[0]][rows, columns], number)
    corner = at[2] - HALF_WIDTH - columns.start, at[1] - HALF_WIDTH - rows.start
    square = f'<rect x="{corner[0]}" y="{corner[1]}" width="{2 * HALF_WIDTH}" height="{2 * HALF_WIDTH}"/>'
    drawn = _picture(
        _grey(pair.followup[at[0]][rows, columns]),
        outlines + square,
        "R",
        "L",
        "axial, follow-up, whole",
        "picture whole",
    )
    return f"<figure>{drawn}<figcaption>axial, follow-up, whole</figcaption></figure>"


def _picture(grey: Grey, drawn: str, left: str, right: str, words: str, kind: str = "picture") -> str:
    """A slice (rows, columns) with what is drawn on it, in pixels, and the letters of its sides."""
    source = base64.b64encode(picture.png(grey)).decode("ascii")
    rows, columns = grey.shape
    return (
        f'<div class="{kind}"><img alt="{words}" width="{columns}" height="{rows}" src="data:image/png;base64,{source}">'
        f'<svg viewBox="0 0 {columns} {rows}">{drawn}</svg><b>{left}</b><b>{right}</b></div>'
    )


def _outlines(labels: Labels, number: int) -> str:
    """This lesion's outline and the others', as SVG paths."""
    others = picture.outline_path((labels != 0) & (labels != number))
    return (
        f'<path class="other" d="{others}"/><path class="this" d="{picture.outline_path(labels == number)}"/>'
    )


def _grey(scan: npt.NDArray[np.float32]) -> Grey:
    """Scaled intensities as bytes, 0 to picture.BRIGHTEST as black to white."""
    grey: Grey = np.rint(np.clip(scan / picture.BRIGHTEST, 0, 1) * 255).astype(np.uint8)
    return grey


def _box(pair: Pair) -> tuple[slice, slice, slice]:
    """The brain and a margin: (z, y, x)."""
    margins = [round(MARGIN_MM / side) for side in pair.grid.GetSpacing()[::-1]]
    brain = ndimage.find_objects(pair.brain.astype(np.uint8))[0]
    z, y, x = (
        slice(max(side.start - margin, 0), side.stop + margin)
        for side, margin in zip(brain, margins, strict=True)
    )
    return z, y, x


def _placed(result: Result) -> sitk.Image:
    """The pair's grid where its voxels lie in the follow-up."""
    return grids.moved_grid(result.pair.grid, result.aligned.to_followup)


def _volume(values: Grey, result: Result, box: tuple[slice, slice, slice]) -> str:
    """A volume (z, y, x) of the pair, cut to the box, in the follow-up's space, as base64 of a .nii.gz file."""
    whole = grids.like(values, _placed(result))
    z, y, x = box
    with TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        sitk.WriteImage(whole[x, y, z], str(path), useCompression=True)
        return base64.b64encode(path.read_bytes()).decode("ascii")


def _policy(*scripts: bytes) -> str:
    """A Content-Security-Policy that lets these scripts run and nothing be loaded."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'" for script in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _json(content: object) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.dumps(content).replace("<", "\\u003c")
