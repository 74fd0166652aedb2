"""From a laboratory's pairs to weights that `segment` takes, and what is said of pairs of no use."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from click.testing import CliRunner

from app.cli.main import main
from app.config import Config, NetworkConfig, OperatingPoint, PreprocessConfig, WindowConfig
from app.errors import InputError
from app.method import checkpoint
from app.method.model import UNet3D
from training import finetune, own_pairs, publish, tiny, train

PATIENTS = ("001", "002", "005")  # of the made-up challenge; 005 has no new lesion
NAMES = ("flair_time01_on_middle_space", "flair_time02_on_middle_space", "ground_truth")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients with new lesions and one without, stripped, one mask each."""
    folder = tmp_path_factory.mktemp("laboratory")
    tiny.write_challenge(folder / "all", np.random.default_rng(0))
    for patient in PATIENTS:
        (folder / "pairs" / patient).mkdir(parents=True)
        for name in NAMES:
            shutil.copy(folder / "all" / patient / f"{name}.nii.gz", folder / "pairs" / patient)
    return folder / "pairs"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of small windows, and the published brain extraction."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    config = Config(
        network=NetworkConfig(features=8),
        preprocess=PreprocessConfig(match_sharpness=True),
        windows=WindowConfig(side=32, overlap=0.0),
        point=OperatingPoint(threshold=0.5, certain=0.6),
    )
    checkpoint.save(folder / "lesions1.pt", UNet3D(config.network), config, {})
    checkpoint.copy(publish.PUBLISHED / checkpoint.BRAIN_NETWORK, folder)
    return folder


def test_further_training_sees_pairs_as_sharp_as_the_weights_were_trained_on(start: Path) -> None:
    path = start / "lesions1.pt"
    config = finetune.config_of(path, steps=10)
    assert train.preprocess_of(config) == checkpoint.load(path).config.preprocess


def _finetune(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["finetune", *map(str, arguments)])
    finetune.main()


@pytest.mark.slow
def test_pairs_become_weights_that_segment_takes(
    pairs: Path,
    start: Path,
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "my weights"
    options = ("--weights", start, "--prepared", prepared, "--runs", tmp_path / "runs", "--steps", 1)
    _finetune(monkeypatch, "--data", pairs, "--out", out, "--preprocessing", "none", *options)
    said = capsys.readouterr().out
    before, after = said.split("before:")[1].split("after:")
    for table in (before, after):
        assert all(re.search(rf"^{patient} +[\dn]", table, re.MULTILINE) for patient in PATIENTS)
        assert "mean F1" in table
    assert sorted(path.name for path in out.iterdir()) == [
        *("MODEL_CARD.md", "SHA256SUMS", "brain.pt", "lesions1.pt", "lesions2.pt")
    ]
    for network in checkpoint.lesion_networks(out):
        held_out = checkpoint.load(network).provenance["held out"]
        assert held_out
        assert not any(patient in held_out.split(", ") for patient in PATIENTS)
    card = (out / "MODEL_CARD.md").read_text()
    assert not any(re.search(rf"^{patient} ", card, re.MULTILINE) for patient in PATIENTS)

    scans = [pairs / "001" / f"{name}.nii.gz" for name in NAMES[:2]]
    mask = tmp_path / "mask.nii.gz"
    command = ["segment", "-t1", *scans, "-o", mask, "--weights", out, "--preprocessing", "none", "--fast"]
    command.insert(3, "-t2")
    result = CliRunner().invoke(main, [str(word) for word in command])
    assert result.exit_code == 0, result.output
    assert mask.is_file()


def test_all_that_is_wrong_is_said_at_once(
    pairs: Path,
    start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mask on another grid, a scan for a mask, no mask, two masks, a scan alone; nobody is left."""
    data = tmp_path / "pairs"
    for number in range(5):
        shutil.copytree(pairs / "001", data / f"{number}")
    mask = sitk.ReadImage(str(data / "0" / "ground_truth.nii.gz"))
    sitk.WriteImage(mask[1:], str(data / "0" / "ground_truth.nii.gz"))
    shutil.copy(data / "1" / f"{NAMES[1]}.nii.gz", data / "1" / "ground_truth.nii.gz")
    (data / "2" / "ground_truth.nii.gz").unlink()
    shutil.copy(data / "3" / "ground_truth.nii.gz", data / "3" / "mask.nii.gz")
    (data / "4" / f"{NAMES[0]}.nii.gz").unlink()
    with pytest.raises(SystemExit) as ended:
        _finetune(
            monkeypatch,
            "--data",
            data,
            "--out",
            tmp_path / "out",
            "--weights",
            start,
            "--runs",
            tmp_path / "runs",
        )
    assert ended.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("Error: ") for line in lines)
    for words in (
        r"0/ground_truth\.nii\.gz: a mask of .*; wanted the scan's grid",
        r"1/ground_truth\.nii\.gz: values from .*; wanted a mask of 0 and 1",
        r"2/flair_time02_on_middle_space\.nii\.gz: 0 masks for this pair; wanted one",
        r"3/flair_time02_on_middle_space\.nii\.gz: 2 masks for this pair \(ground_truth.*, mask",
        r"4/flair_time02_on_middle_space\.nii\.gz: a follow-up alone",
        r"0 patients with more than 30 mm\^3 of new lesions; wanted two or more",
    ):
        assert sum(bool(re.search(words, line)) for line in lines) == 1, words
    assert len(lines) == 6
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs").exists()


def test_the_pairs_of_a_folder_are_of_one_patient(pairs: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs"
    for place in ("A/first", "A/second", "B"):
        shutil.copytree(pairs / "001", data / place)
    found, problems = own_pairs.find(data, tmp_path / "out")
    assert problems == []
    assert [(pair.name, pair.patient) for pair in found] == [
        *(("A_first", "A"), ("A_second", "A"), ("B", "B"))
    ]


def test_a_table_names_the_masks(pairs: Path, tmp_path: Path) -> None:
    table = pairs.parent / "pairs.csv"
    rows = [
        f"{patient},{','.join(f'pairs/{patient}/{name}.nii.gz' for name in NAMES)}" for patient in PATIENTS
    ]
    table.write_text("\n".join(["patient,baseline,followup,mask", *rows]) + "\n")
    found, problems = own_pairs.find(table, tmp_path / "out")
    assert problems == []
    assert [(pair.patient, pair.new_mm3 > 0) for pair in found] == [
        *(("001", True), ("002", True), ("005", False))
    ]
    table.write_text("\n".join(["patient,baseline,followup,mask", rows[0].rsplit(",", 1)[0] + ","]) + "\n")
    with pytest.raises(InputError, match=r"no mask for 001; wanted one in the column mask"):
        own_pairs.find(table, tmp_path / "out")


def test_masks_side_by_side_go_by_the_names_of_their_pairs(pairs: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs"
    data.mkdir()
    for patient in PATIENTS:
        for name, kind in zip(NAMES, ("time01", "time02", "mask"), strict=True):
            shutil.copy(pairs / patient / f"{name}.nii.gz", data / f"{patient}_{kind}.nii.gz")
    found, problems = own_pairs.find(data, tmp_path / "out")
    assert problems == []
    assert [(pair.patient, pair.mask.name) for pair in found] == [
        (patient, f"{patient}_mask.nii.gz") for patient in PATIENTS
    ]
