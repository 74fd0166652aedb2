"""What several test files need: the open data's folder, a made-up patient, and untrained weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from app import phantom
from app.images import storage
from benchmarks import stand_in

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)  # one for each core of two
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def open_data() -> Path:
    """The folder of open scans named by MSNL_DATA, relative to the repository; the test is skipped where it
    is missing.
    """
    folder = (REPOSITORY / os.environ.get("MSNL_DATA", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"open data not at {folder}; set MSNL_DATA")
    return folder


@pytest.fixture(scope="session")
def patient() -> phantom.Phantom:
    """The demo's patient in 3-mm voxels."""
    return phantom.make_phantom(spacing_mm=3.0)


@pytest.fixture
def scan() -> sitk.Image:
    """A small oblique scan, 20 x 24 x 10 voxels of 1.1 x 1.1 x 3 mm, with values that differ."""
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.uniform(1, 100, (10, 24, 20)).astype(np.float32))
    image.SetSpacing((1.1, 1.1, 3.0))
    image.SetOrigin((-11.5, 7.25, 33.1))
    image.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3).GetMatrix())
    return image


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped brain network, and an untrained lesion network on a 3-mm grid."""
    return stand_in.write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def scans(patient: phantom.Phantom, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Baseline and follow-up on two grids."""
    folder = tmp_path_factory.mktemp("scans")
    storage.write(patient.baseline, folder / "time01.nii.gz")
    storage.write(patient.followup, folder / "time02.nii.gz")
    return folder / "time01.nii.gz", folder / "time02.nii.gz"
