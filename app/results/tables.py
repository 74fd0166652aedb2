"""The lesions of a patient as tables: CSV for a spreadsheet, JSON for a program
(schemas/lesions.schema.json).

Neither names the patient, a file or a folder.
"""

import csv
import io
import json
from typing import Any

from .. import __version__
from ..method.findings import Findings
from ..method.lesions import Lesion

# of schemas/lesions.schema.json; fields may be added under it, one that goes or changes its meaning raises it
SCHEMA_VERSION = 2

LESION_FIELDS = (
    "number",
    "kind",
    "why",
    "voxels",
    "volume_mm3",
    "baseline_mm3",
    "followup_mm3",
    "diameter_mm",
    "right_mm",
    "anterior_mm",
    "superior_mm",
    "side",
    "region",
    "baseline_z",
    "followup_z",
    "baseline_slice",
    "followup_slice",
    "mean_probability",
    "peak_probability",
)


def as_csv(findings: Findings) -> str:
    """A header and one row a lesion, new ones first; millimetres, probabilities and brightness with three
    decimals.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(LESION_FIELDS)
    for lesion in findings.all():
        row = _row(lesion)
        row |= zip(("right_mm", "anterior_mm", "superior_mm"), row["centre_ras_mm"], strict=True)
        table.writerow(
            f"{row[name]:.3f}" if isinstance(row[name], float) else row[name] for name in LESION_FIELDS
        )
    return text.getvalue()


def as_json(findings: Findings) -> str:
    """The same as one JSON object, which also says how many are new and how large those are together."""
    load = findings.load_mm3
    content = {
        "schema_version": SCHEMA_VERSION,
        "program": __version__,
        "new_lesions": len(findings.new),
        "volume_mm3": round(sum(lesion.volume_mm3 for lesion in findings.new), 3),
        "load_mm3": None if load is None else {"baseline": round(load[0], 3), "followup": round(load[1], 3)},
        "surface_mm": findings.surface_mm,
        "lesions": [_row(lesion) for lesion in findings.all()],
    }
    return json.dumps(content, indent=2) + "\n"


def _row(lesion: Lesion) -> dict[str, Any]:
    baseline_z, followup_z = lesion.z or (None, None)
    baseline_slice, followup_slice = lesion.slices or (None, None)
    return {
        "number": lesion.number,
        "kind": lesion.kind,
        "why": lesion.why,
        "voxels": lesion.voxels,
        "volume_mm3": round(lesion.volume_mm3, 3),
        "baseline_mm3": _rounded(lesion.baseline_mm3),
        "followup_mm3": _rounded(lesion.followup_mm3),
        "diameter_mm": round(lesion.diameter_mm, 3),
        "centre_ras_mm": [round(side, 3) for side in lesion.centre_ras_mm],
        "side": lesion.place.side if lesion.place else None,
        "region": lesion.place.region if lesion.place else None,
        "baseline_z": _rounded(baseline_z),
        "followup_z": _rounded(followup_z),
        "baseline_slice": baseline_slice,
        "followup_slice": followup_slice,
        "mean_probability": round(lesion.mean_probability, 3),
        "peak_probability": round(lesion.peak_probability, 3),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 3)
