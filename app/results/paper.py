"""The page's essentials on paper: the text, each lesion's pictures, and the whole brain in slices.

Drawn by matplotlib, which is an extra.
"""

import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..arrays import Labels, Mask
from ..errors import not_installed
from ..files import write_bytes
from ..images import grids
from ..method.lesions import Lesion
from ..pipeline import Result
from . import picture, text, words
from .picture import Grey, Rgb
from .report import CLASSES, CROP_MM, PLANES, centres
from .text import NOBODY, Heading, Instances

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure
except ImportError as error:
    raise not_installed(error, "figures") from error

A4_INCHES = (8.27, 11.69)
DPI = 150
COLUMNS, LINES = 98, 74  # of text on a page
LESIONS = 6  # a page
# as on the page (page/page.css), in the order of CLASSES
COLOURS = dict(
    zip(
        CLASSES,
        ((255, 59, 48), (255, 149, 0), (142, 154, 166), (52, 199, 165), (77, 163, 255), (255, 214, 10)),
        strict=True,
    )
)
NOTE = (
    "Axial baseline, follow-up and difference, then follow-up with outlines: axial, coronal, sagittal.\n"
    "The patient's right is on the left, in the sagittal picture the front. Research software: check all."
)


def write_pdf(
    result: Result, path: Path, heading: Heading = NOBODY, instances: Instances = (None, None)
) -> None:
    """Write all pages. As the page does, it names no file, and no patient but what `heading` says."""
    content = io.BytesIO()
    with PdfPages(content, metadata={"Title": words.headline(result), "CreationDate": None}) as pdf:
        for page in (*_text_pages(result, heading, instances), *lesion_pages(result, instances)):
            pdf.savefig(page)
    write_bytes(content.getvalue(), path)


def lesion_pages(result: Result, instances: Instances = (None, None)) -> Iterator[Figure]:
    """The pictures of every lesion but the unchanged, `LESIONS` a page; one page without any if none is."""
    at = centres(result.shown, len(result.findings.all()))
    listed = [lesion for lesion in result.findings.all() if lesion.kind != "unchanged"]
    drawn = [lesion for lesion in listed if at[lesion.number - 1] is not None]
    for first in range(0, max(len(drawn), 1), LESIONS):
        page = Figure(A4_INCHES, DPI)
        page.text(0.06, 0.965, words.headline(result), fontsize=14, weight="bold", va="top")
        page.text(0.06, 0.935, NOTE, fontsize=7, va="top")
        for row, lesion in enumerate(drawn[first : first + LESIONS]):
            top = 0.90 - 0.147 * row
            title = (
                f"{lesion.number}, {lesion.kind}: {words.place(lesion)}, {lesion.volume_mm3:.0f} mm³, "
                f"slice {words.slices(lesion, instances)} (baseline / follow-up)"
            )
            page.text(0.06, top, title, fontsize=8, va="top")
            voxel = at[lesion.number - 1]
            for column, image in enumerate(_row(result, voxel) if voxel is not None else ()):
                axes = page.add_axes((0.06 + 0.148 * column, top - 0.125, 0.144, 0.144 * 8.27 / 11.69))
                axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes.set_axis_off()
        yield page


def pixels(page: Figure) -> Rgb:
    """A page as (rows, columns, 3)."""
    canvas = FigureCanvasAgg(page)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _text_pages(result: Result, heading: Heading, instances: Instances) -> Iterator[Figure]:
    lines = [
        line
        for paragraph in text.text(result, heading, instances).splitlines()
        for line in textwrap.wrap(paragraph, COLUMNS) or [""]
    ]
    for first in range(0, len(lines), LINES):
        page = Figure(A4_INCHES, DPI)
        page.text(
            0.06, 0.96, "\n".join(lines[first : first + LINES]), fontsize=8, family="monospace", va="top",
            linespacing=1.3, parse_math=False,
        )  # fmt: skip
        yield page


def _row(result: Result, at: tuple[int, int, int]) -> list[Grey | Rgb]:
    """The six pictures of a lesion: `NOTE`."""
    pair = result.pair
    half_width = round(CROP_MM / 2 / min(grids.spacing_mm(pair.grid)))
    plain: list[Grey | Rgb] = [
        picture.crop(pair.baseline, 0, at, half_width, picture.WHITE),
        picture.crop(pair.followup, 0, at, half_width, picture.WHITE),
        picture.difference(pair, 0, at, half_width),
    ]
    outlined = [
        _outlined(
            picture.crop(pair.followup, plane.axis, at, half_width, picture.WHITE),
            picture.plane(result.shown, plane.axis, at, half_width),
            result.findings.all(),
        )
        for plane in PLANES
    ]
    return [*plain, *outlined]


def _outlined(grey: Grey, labels: Labels, lesions: Sequence[Lesion]) -> Rgb:
    """The picture with a line about each of its lesions, in the colour of its kind."""
    colours = np.stack([grey] * 3, axis=-1)
    kinds = {lesion.number: lesion.kind for lesion in lesions}
    for number in np.setdiff1d(labels, 0).tolist():
        inside: Mask = np.kron(labels == number, np.ones((picture.FINER, picture.FINER), dtype=bool))
        colours[ndimage.binary_dilation(inside) & ~inside] = COLOURS[kinds[number]]
    return colours
