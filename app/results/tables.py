"""The lesions of a patient as tables: CSV for a spreadsheet, JSON for a program (schemas/lesions.schema.json).

Neither names the patient, a file or a folder.
"""

import csv
import io
import json
from typing import Any

from .. import __version__
from ..method.lesions import Lesion

SCHEMA_VERSION = 1  # of schemas/lesions.schema.json; fields may be added under it, one that goes or changes its meaning raises it

LESION_FIELDS = (
    "number",
    "voxels",
    "volume_mm3",
    "diameter_mm",
    "right_mm",
    "anterior_mm",
    "superior_mm",
    "side",
    "region",
    "mean_probability",
    "peak_probability",
)


def as_csv(lesions: list[Lesion]) -> str:
    """A header and one row a lesion, largest first; millimetres and probabilities with three decimals."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(LESION_FIELDS)
    for lesion in lesions:
        row = _row(lesion)
        row |= zip(("right_mm", "anterior_mm", "superior_mm"), row["centre_ras_mm"], strict=True)
        table.writerow(
            f"{row[name]:.3f}" if isinstance(row[name], float) else row[name] for name in LESION_FIELDS
        )
    return text.getvalue()


def as_json(lesions: list[Lesion]) -> str:
    """The same as one JSON object, which also says how many there are and how large together."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "program": __version__,
        "new_lesions": len(lesions),
        "volume_mm3": round(sum(lesion.volume_mm3 for lesion in lesions), 3),
        "lesions": [_row(lesion) for lesion in lesions],
    }
    return json.dumps(content, indent=2) + "\n"


def _row(lesion: Lesion) -> dict[str, Any]:
    return {
        "number": lesion.number,
        "voxels": lesion.voxels,
        "volume_mm3": round(lesion.volume_mm3, 3),
        "diameter_mm": round(lesion.diameter_mm, 3),
        "centre_ras_mm": [round(side, 3) for side in lesion.centre_ras_mm],
        "side": lesion.place.side if lesion.place else None,
        "region": lesion.place.region if lesion.place else None,
        "mean_probability": round(lesion.mean_probability, 3),
        "peak_probability": round(lesion.peak_probability, 3),
    }
