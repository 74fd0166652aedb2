"""What the tests of the image share: who runs it, and two small scans."""

from pathlib import Path

import pytest

from app import phantom
from app.images import storage
from benchmarks.engine import Engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.find()


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the middle slab of the demo's patient in 3-mm voxels, named as in MSSEG-2."""
    folder = tmp_path_factory.mktemp("scans")
    patient = phantom.make_phantom(spacing_mm=3.0)
    for name, scan in (("flair_time01.nii.gz", patient.baseline), ("flair_time02.nii.gz", patient.followup)):
        slices = scan.GetSize()[2]
        storage.write(scan[:, :, int(0.45 * slices) : int(0.75 * slices)], folder / name)
    folder.chmod(0o755)  # the container's user is another
    return folder
