"""What do the images of a result mean? Their headers say it, and in BIDS a file beside each."""

import json
import re
from pathlib import Path

from .. import __version__
from ..images.nifti import ESTIMATE, LABEL, Meaning
from ..images.scan import Scan
from ..method.change import KINDS

LINK = "raw"  # the name of the scans' data set in BIDS URIs
_WE = f"ms-new-lesions {__version__}"
LABELS = {kind: 1 + place for place, kind in enumerate(KINDS)}
MASK = Meaning(LABEL, f"{_WE}: 1 where a lesion is new")
BRAIN = Meaning(LABEL, f"{_WE}: 1 in the brain")
NUMBERS = Meaning(LABEL, f"{_WE}: number of each lesion")
VISITS = Meaning(LABEL, f"{_WE}: lesion at 1 baseline, 2 follow-up, 3 both")
PROBABILITY = Meaning(ESTIMATE, f"{_WE}: probability of a new lesion")
CHANGES = Meaning(LABEL, f"{_WE}: " + ", ".join(f"{value} {kind}" for kind, value in LABELS.items()))


def sidecars(baseline: Scan, followup: Scan) -> dict[str, str]:
    """{image: what the JSON file beside it says in a BIDS derivative}, of two scans of a BIDS data set."""
    sources = {"Sources": [f"bids:{LINK}:{_in_data_set(scan.path)}" for scan in (baseline, followup)]}
    since = f"since {_session(baseline.path)}"
    contents: dict[str, dict[str, object]] = {
        "mask": {"Type": "Lesion", "Description": f"1 where a lesion is new {since}"},
        "probability": {"Description": f"Probability of a lesion that is new {since}"},
        "changes": {"Description": f"What became of each lesion {since}", "LabelMap": LABELS},
    }
    return {name: json.dumps(content | sources, indent=1) + "\n" for name, content in contents.items()}


def _in_data_set(scan: Path) -> str:
    """'sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz' of a path that ends so."""
    return "/".join(scan.parts[-4:])


def _session(scan: Path) -> str:
    found = re.search(r"ses-[^_/]+", scan.name)
    return found[0] if found else "the session before"
