"""One self-contained HTML page per patient: how many new lesions, where, and what they look like at both times."""

import base64
import html

import numpy as np
import SimpleITK as sitk

from app import __version__, picture
from app.image import Mask
from app.lesions import Lesion
from app.pipeline import Result

HALF_WIDTH = 32  # voxels of the working grid round a lesion's centre
SHOWN = 50  # lesions with pictures; the table has them all

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #ddd; }
figure { display: inline-block; margin: .3rem; } figcaption { font-size: 13px; color: #555; }
img { width: 192px; height: 192px; image-rendering: pixelated; background: #000; }
section { break-inside: avoid; } .note { color: #555; }
"""


def page(result: Result) -> str:
    """The page as text. It names no file and no patient, and loads nothing from anywhere."""
    count = len(result.lesions)
    mask = _mask_in_middle_space(result)
    pictures = [_lesion_section(lesion, result, mask) for lesion in result.lesions[:SHOWN]]
    if count > SHOWN:
        pictures.append(f"<p>Pictures of the {SHOWN} largest lesions only.</p>")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>New lesions</title><style>{_STYLE}</style></head><body>
<h1>{html.escape(result.in_words())}</h1>
<p class="note">ms-new-lesions {__version__}. Research software, not a medical device: a reader must check what it finds and what it does not.</p>
{_table(result.lesions)}
<p>Alignment: {_alignment(result)}</p>
{"".join(pictures)}
</body></html>
"""


def _table(lesions: list[Lesion]) -> str:
    if not lesions:
        return "<p>No new lesion was found.</p>"
    rows = "".join(
        f"<tr><td>{lesion.number}</td><td>{lesion.volume_mm3:.0f}</td><td>{lesion.diameter_mm:.1f}</td>"
        f"<td>{', '.join(f'{side:.0f}' for side in lesion.centre_ras_mm)}</td><td>{lesion.mean_probability:.2f}</td>"
        f"<td>{lesion.peak_probability:.2f}</td></tr>"
        for lesion in lesions
    )
    return (
        "<table><tr><th>lesion</th><th>volume, mm³</th><th>diameter, mm</th><th>centre (right, anterior, superior), mm</th>"
        f"<th>mean probability</th><th>peak</th></tr>{rows}</table>"
    )


def _alignment(result: Result) -> str:
    aligned = result.aligned
    return (
        f"similarity {aligned.similarity_after:.2f} ({aligned.similarity_before:.2f} before), "
        f"turned by {aligned.angle_degrees:.1f}°, moved by {aligned.shift_mm:.1f} mm."
    )


def _mask_in_middle_space(result: Result) -> Mask:
    """The written mask on the grid of the pair: (z, y, x)."""
    resampled = sitk.Resample(result.mask, result.pair.grid, result.aligned.to_followup, sitk.sitkNearestNeighbor)
    mask: Mask = sitk.GetArrayFromImage(resampled) > 0
    return mask


def _lesion_section(lesion: Lesion, result: Result, mask: Mask) -> str:
    """Three orthogonal slices through a lesion: baseline, follow-up, follow-up with outline."""
    pair = result.pair
    right, anterior, superior = lesion.centre_ras_mm
    in_middle_space = result.aligned.to_followup.GetInverse().TransformPoint((-right, -anterior, superior))
    index = pair.grid.TransformPhysicalPointToIndex(in_middle_space)
    figures = []
    for name, axis in (("axial", 0), ("coronal", 1), ("sagittal", 2)):
        for time, scan, outline in (("baseline", pair.baseline, False), ("follow-up", pair.followup, False), ("outline", pair.followup, True)):
            rgb = picture.slice_rgb(scan, mask if outline else np.zeros_like(mask), axis, tuple(reversed(index)), HALF_WIDTH)
            source = base64.b64encode(picture.png(rgb)).decode("ascii")
            figures.append(f'<figure><img alt="{name} {time}" src="data:image/png;base64,{source}"><figcaption>{name}, {time}</figcaption></figure>')
        figures.append("<br>")
    return f"<section><h2>Lesion {lesion.number}: {lesion.volume_mm3:.0f} mm³</h2>{''.join(figures)}</section>"
