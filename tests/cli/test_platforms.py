"""The layouts that platforms hand over: BIDS Apps and grand-challenge, each with a real tree of small scans.

The official validator of BIDS looks at the results. An untrained network stands in for the trained one.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result

from app.cli.main import main
from app.cli.platforms import bids
from app.images import grids, storage
from app.patients.bids import write_description
from tests.conftest import REPOSITORY

INTENTS = {"mask": "label", "dseg": "label", "probseg": "estimate"}
QUICK = ("--threads", "1", "--device", "cpu", "--fast")


def _call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def data_set(scans: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients with three sessions, as BIDS has them."""
    folder = tmp_path_factory.mktemp("bids")
    description = {"Name": "Two made-up patients", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    (folder / "README.md").write_text("Two made-up patients with three sessions each, for a test.\n" * 3)
    for subject in ("sub-01", "sub-02"):
        for session, scan in (("ses-01", scans[0]), ("ses-02", scans[1]), ("ses-03", scans[1])):
            path = folder / subject / session / "anat" / f"{subject}_{session}_FLAIR.nii.gz"
            path.parent.mkdir(parents=True)
            shutil.copy(scan, path)
    return folder


@pytest.fixture(scope="module")
def derivative(data_set: Path, weights: Path) -> Path:
    """What the app makes of them: subject 01 from first to last, then the pairs of 02."""
    output = data_set / "derivatives" / "ms-new-lesions"
    common = ("--weights", weights, *QUICK)
    first = _call(
        "bids", data_set, output, "participant", "--participant_label", "01", "--pairs", "first-last", *common
    )
    assert first.exit_code == 0, first.output
    second = _call("bids", data_set, output, "participant", "--participant-label", "02", *common)
    assert second.exit_code == 0, second.output
    return output


def _validated(folder: Path) -> list[dict[str, str]]:
    """What the official validator complains about."""
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.exists():
        pytest.skip("bids-validator-deno is not installed: pip install --group platforms")
    ran = subprocess.run([program, folder, "--json"], capture_output=True, text=True, check=False)
    issues: list[dict[str, str]] = json.loads(ran.stdout)["issues"]["issues"]
    return issues


@pytest.mark.slow
def test_a_bids_app_writes_what_the_official_validator_takes(data_set: Path, derivative: Path) -> None:
    assert [issue for issue in _validated(derivative) if issue["severity"] == "error"] == []
    assert [issue for issue in _validated(data_set) if issue["severity"] == "error"] == []


@pytest.mark.slow
def test_derivatives_name_their_sources(data_set: Path, derivative: Path) -> None:
    described = json.loads((derivative / "dataset_description.json").read_text())
    assert described["GeneratedBy"][0]["Name"] == "ms-new-lesions"
    assert described["SourceDatasets"] == [{"URL": "../.."}]
    assert described["DatasetLinks"] == {"raw": "../.."}
    images = sorted(path for kind in INTENTS for path in derivative.rglob(f"*_{kind}.nii.gz"))
    assert len(images) == 3 * (1 + 2)
    for image in images:
        sidecar = json.loads(Path(str(image).replace(".nii.gz", ".json")).read_text())
        sources = [data_set / source.removeprefix("bids:raw:") for source in sidecar["Sources"]]
        assert all(source.is_file() for source in sources)
        later = image.name.split("_desc-")[0]
        assert sources[1].name == f"{later}_FLAIR.nii.gz"
        since = "ses-01" if "Since01" in image.name or "ses-02" in image.name else "ses-02"
        assert since in sources[0].name
        assert since in sidecar["Description"]
    followed = {path.relative_to(derivative).as_posix() for path in derivative.rglob("*_follow.html")}
    assert followed == {f"sub-0{n}/sub-0{n}_desc-newLesions_follow.html" for n in (1, 2)}


@pytest.mark.slow
def test_headers_say_what_images_mean(derivative: Path) -> None:
    for image in derivative.rglob("*.nii.gz"):
        header = nibabel.Nifti1Image.from_filename(image).header
        kind = image.name.split("_")[-1].removesuffix(".nii.gz")
        assert header.get_intent()[0] == {**INTENTS, "numbers": "label", "visits": "label"}[kind]
        assert header.get_xyzt_units()[0] == "mm"
        assert b"ms-new-lesions" in header["descrip"].item()


def test_labels_come_as_bids_apps_take_them() -> None:
    """Several after one option, or one after each; the folders before or after them."""
    for line in (
        "--participant_label 01 sub-02 --session-label M0 --fast in out participant",
        "in out participant --participant-label 01 --fast --participant-label sub-02 --session_label M0",
    ):
        chosen = bids.make_context("bids", line.split()).params
        assert (chosen["subjects"], chosen["sessions"]) == (("01", "sub-02"), ("M0",))
        assert (chosen["bids_dir"], chosen["analysis_level"]) == (Path("in"), "participant")
        assert chosen["fast"]


def test_labels_that_nobody_has_are_refused(data_set: Path, weights: Path, tmp_path: Path) -> None:
    for option, label, said in (
        ("--participant-label", "07", "no sub-07 in it; wanted one of sub-01, sub-02"),
        ("--session-label", "M6", "no ses-M6 in it; wanted one of ses-01, ses-02, ses-03"),
    ):
        result = _call("bids", data_set, tmp_path / "out", "participant", option, label, "--weights", weights)
        assert result.exit_code == 1
        assert result.stderr == f"Error: {data_set}: {said}\n"
        assert not (tmp_path / "out").exists()


def test_the_container_is_named_where_there_is_one(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MS_NEW_LESIONS_IMAGE", "ms-new-lesions:1.2")
    write_description(tmp_path, data_set)
    described = json.loads((tmp_path / "dataset_description.json").read_text())
    assert described["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "ms-new-lesions:1.2"}


def test_the_image_takes_the_arguments_of_a_bids_app_without_a_command(tmp_path: Path) -> None:
    script = (REPOSITORY / "entrypoint.sh").read_text().replace("exec /opt/venv/bin/python -m app", "echo")
    (tmp_path / "entrypoint.sh").write_text(script)
    for given, wanted in (
        (["/data", "/out", "participant", "--fast"], "bids /data /out participant --fast"),
        (["segment", "-t1", "a"], "segment -t1 a"),
    ):
        said = subprocess.run(
            ["sh", tmp_path / "entrypoint.sh", *given], capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == wanted


@pytest.fixture
def challenge(patient_scans_mha: tuple[Path, Path], tmp_path: Path) -> Path:
    """What grand-challenge mounts: one image in the folder of each slug, under a name that means nothing."""
    names = ("0f1a4c8e-5d4f-4a55-9a0b-57f0c0a6a001.mha", "b2d7a5e3-90b1-4a3c-8c67-f6a1f6f0b002.mha")
    for slug, scan, name in zip(
        ("baseline-flair-brain-mri", "follow-up-flair-brain-mri"), patient_scans_mha, names, strict=True
    ):
        folder = tmp_path / "input" / "images" / slug
        folder.mkdir(parents=True)
        shutil.copy(scan, folder / name)
    return tmp_path


@pytest.fixture(scope="module")
def patient_scans_mha(
    scans: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("mha")
    paths = folder / "1.mha", folder / "2.mha"
    for scan, path in zip(scans, paths, strict=True):
        storage.write(storage.read(scan), path)
    return paths


@pytest.mark.slow
def test_grand_challenge_gets_a_mask_and_its_results(challenge: Path, weights: Path) -> None:
    folders = ("--input", challenge / "input", "--output", challenge / "output")
    result = _call("grand-challenge", *folders, "--weights", weights, *QUICK)
    assert result.exit_code == 0, result.output
    written = {path.relative_to(challenge / "output").as_posix() for path in challenge.glob("output/**/*.*")}
    name = "images/new-ms-lesions/b2d7a5e3-90b1-4a3c-8c67-f6a1f6f0b002.mha"
    assert written == {name, "results.json"}
    mask = storage.read_mask(challenge / "output" / name)
    (followup,) = (challenge / "input/images/follow-up-flair-brain-mri").iterdir()
    assert grids.same_grid(mask, storage.read(followup))
    found = json.loads((challenge / "output" / "results.json").read_text())
    voxels = sum(lesion["voxels"] for lesion in found["lesions"] if lesion["kind"] == "new")
    assert voxels == sitk.GetArrayFromImage(mask).sum()


def test_grand_challenge_wants_one_image_a_slug(challenge: Path, weights: Path) -> None:
    folder = challenge / "input" / "images" / "baseline-flair-brain-mri"
    (scan,) = folder.iterdir()
    shutil.copy(scan, folder / "second.mha")
    for there in (2, 0):
        result = _call(
            *("grand-challenge", "--input", challenge / "input", "--output", challenge / "output"),
            *("--weights", weights),
        )
        assert result.exit_code == 1
        assert result.stderr == f"Error: {folder}: {there} images that end in .mha; wanted one\n"
        assert not (challenge / "output").exists()
        shutil.rmtree(folder, ignore_errors=True)
