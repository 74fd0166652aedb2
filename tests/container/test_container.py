"""The real image, run as users (contract A) and challenge platforms (contract B) run it.

`make image-test` builds it first.
"""

import gzip
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from app import __version__
from app.__main__ import MALLOC
from benchmarks.engine import IMAGE, NOTHING_ALLOWED, UID, Engine, folder_of_the_caller
from tests.conftest import REPOSITORY
from tests.images.bad_files import write_bad_file

container = pytest.mark.container
PAIR = "open_ms_data/longitudinal/raw/patient01/study{}_FLAIR.nii.gz"
CPUS = "--cpus=1"  # one thread inside as outside, so that the bits may be compared


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder of the caller's."""
    return folder_of_the_caller(tmp_path / "work")


@pytest.fixture(scope="module")
def mask_outside(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The mask of a run outside the container, on one thread."""
    return _segment_outside(scans, tmp_path_factory.mktemp("outside") / "mask.nii.gz")


def _segment_outside(scans: Path, mask: Path) -> bytes:
    """In the container's environment, since variables that choose a kernel (OPENBLAS_CORETYPE) could change
    bits.
    """
    pair = ["-t1", str(scans / "flair_time01.nii.gz"), "-t2", str(scans / "flair_time02.nii.gz")]
    command = [sys.executable, "-m", "app", "segment", *pair, "-o", str(mask), "--threads", "1"]
    subprocess.run(command, cwd=REPOSITORY, env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True)
    return _bytes(mask)


def _bytes(mask: Path) -> bytes:
    """Header and voxels; how they are packed is zlib's business."""
    return gzip.decompress(mask.read_bytes())


def test_what_the_dockerfile_repeats_is_the_same_there() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert f"ARG VERSION={__version__}\n" in dockerfile
    assert f"GLIBC_TUNABLES={MALLOC}\n" in dockerfile
    cyclonedx = re.search(r"ARG CYCLONEDX_VERSION=(.+)", dockerfile)
    assert cyclonedx
    assert f"cyclonedx-bom=={cyclonedx[1]}" in (REPOSITORY / "pyproject.toml").read_text()


def _plain(name: str) -> str:
    """One spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _locked(name: str) -> dict[str, str]:
    """{package: version} of a lock file."""
    text = (REPOSITORY / "locks" / name).read_text()
    return {_plain(package): version for package, version in re.findall(r"^(\S+)==(\S+)", text, re.M)}


def test_the_locks_hold_what_is_asked_for_and_a_hash_for_each() -> None:
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    wanted = [*(REPOSITORY / "requirements.txt").read_text().splitlines(), *groups["image"]]
    pinned = {_plain(pin.split("==")[0]): pin.split("==")[1] for pin in wanted if "==" in pin}
    unused = {"sympy", "mpmath", "networkx", "setuptools"}  # torch compiles with them
    locked = _locked("packages.txt")
    assert pinned.keys() - locked.keys() == unused | {"torch"}
    assert {package: locked[package] for package in pinned.keys() & locked.keys()}.items() <= pinned.items()
    assert _locked("torch-cuda.txt")["torch"] == pinned["torch"]
    assert _locked("torch-cpu.txt")["torch"] == pinned["torch"] + "+cpu"
    assert _locked("torch-cuda.txt").items() - {"torch": pinned["torch"]}.items() >= {
        (package, locked[package]) for package in ("jinja2", "filelock", "fsspec")
    }
    for name in ("packages.txt", "torch-cpu.txt", "torch-cuda.txt"):
        lines = (REPOSITORY / "locks" / name).read_text().replace("\\\n", " ").splitlines()
        pins = [line for line in lines if line[:1] not in ("#", " ", "")]
        assert all("--hash=sha256:" in pin for pin in pins)


@pytest.mark.parametrize("missing", ["ANIMA_SHA256", "ANIMA_SCRIPTS_COMMIT", "ANIMA_DATA_COMMIT"])
def test_anima_is_not_installed_unchecked(missing: str, tmp_path: Path) -> None:
    given = {
        "ANIMA_VERSION": "4.2",
        "ANIMA_SHA256": "0",
        "ANIMA_SCRIPTS_COMMIT": "0",
        "ANIMA_DATA_COMMIT": "0",
        "PATH": "",
    }  # no PATH: nothing can be run
    del given[missing]
    ran = subprocess.run(
        ["/bin/sh", REPOSITORY / "install_anima.sh", tmp_path],
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert f"wanted --build-arg {missing}=" in ran.stderr
    assert list(tmp_path.iterdir()) == []


@container
def test_the_image_says_what_it_is_and_runs_as_nobody(engine: Engine) -> None:
    config = engine.image()["Config"]
    assert config["User"] == "65534:65534"
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["created"])
    assert {"source", "url", "base.name", "base.digest"} <= labels.keys()


@container
def test_the_image_holds_the_weights_and_nothing_to_build_or_test_with(engine: Engine) -> None:
    hashes = dict(
        reversed(line.split()) for line in (REPOSITORY / "weights" / "SHA256SUMS").read_text().splitlines()
    )
    version = engine.run("--version")
    assert version.stdout.splitlines() == [
        f"ms-new-lesions {__version__}",
        *(f"{name} sha256 {sha256}" for name, sha256 in sorted(hashes.items())),
    ]
    listed = engine.run(
        "-c",
        "ls /opt/ms-new-lesions; command -v gcc cc make pip; find / -xdev -type d -name tests",
        options=("--entrypoint=/bin/sh",),
    )
    assert listed.stdout.split() == ["LICENSE", "app", "locks", "sbom.json", "weights"]


@container
def test_the_image_s_bill_of_materials_lists_what_is_installed(engine: Engine) -> None:
    shown = engine.run("/opt/ms-new-lesions/sbom.json", options=("--entrypoint=cat",))
    bill = json.loads(shown.stdout)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {_plain(part["name"]): part["version"] for part in bill["components"]}
    torch = "torch-cpu.txt" if listed["torch"].endswith("+cpu") else "torch-cuda.txt"
    assert listed == _locked("packages.txt") | _locked(torch)


@container
def test_the_image_for_cpus_is_small(engine: Engine) -> None:
    """Below 1.2 GB on the base that the page names, ubuntu:24.04, which has 0.08 GB."""
    if engine.run(
        "-c", "ls /opt/venv/lib/python3*/site-packages/nvidia", options=("--entrypoint=/bin/sh",)
    ).stdout:
        pytest.skip("an image for GPUs: torch brings 3 GB of CUDA libraries")
    base = engine.image()["Config"]["Labels"]["org.opencontainers.image.base.name"]
    sizes = engine.call("image", "inspect", "--format={{.Size}}", IMAGE, base).stdout.split()
    assert int(sizes[0]) - int(sizes[1]) + 0.08e9 < 1.2e9


@container
def test_the_health_check_loads_the_program_and_compares_the_weights(engine: Engine, tmp_path: Path) -> None:
    described = engine.image()
    check = (described.get("Healthcheck") or described["Config"]["Healthcheck"])["Test"]
    assert check[0] == "CMD"
    asked = ("--entrypoint=" + check[1],)
    assert engine.run(*check[2:], options=asked).returncode == 0
    (tmp_path / "lesions1.pt").write_bytes(b"others")
    (tmp_path / "lesions1.pt").chmod(0o644)
    other = f"-v={tmp_path}/lesions1.pt:/opt/ms-new-lesions/weights/lesions1.pt:ro"
    assert engine.run(*check[2:], options=(*asked, other)).returncode != 0


@container
def test_the_help_is_shown_when_nothing_is_mounted(engine: Engine) -> None:
    shown = engine.run()
    assert shown.returncode == 0, shown.stderr
    assert "Commands:" in shown.stdout


@container
@pytest.mark.parametrize("command", ["python -m app", "ms-new-lesions"])
def test_contract_b_from_any_folder_gives_the_same_mask(
    engine: Engine, scans: Path, work: Path, mask_outside: bytes, command: str
) -> None:
    """The platform names its own entrypoint and a work folder with scans, script and results."""
    assert np.any(np.frombuffer(mask_outside[352:], dtype=np.uint8)), "an empty mask would prove nothing"
    for scan in scans.iterdir():
        shutil.copy(scan, work)
    (work / "command-line.sh").write_text(
        f"{command} segment -t1 flair_time01.nii.gz -t2 flair_time02.nii.gz -o output_segmentation.nii.gz\n"
    )
    ran = engine.run(
        "command-line.sh", options=("--entrypoint=/bin/sh", CPUS, f"-w={work}", f"-v={work}:{work}")
    )
    assert ran.returncode == 0, ran.stderr
    assert "CPU threads: 1" in ran.stderr
    mask = work / "output_segmentation.nii.gz"
    assert _bytes(mask) == mask_outside
    assert mask.stat().st_uid == UID


@container
def test_contract_a_stopped_in_the_middle_and_started_again_gives_the_same_masks(
    engine: Engine, scans: Path, work: Path, tmp_path: Path, mask_outside: bytes
) -> None:
    patients = tmp_path / "patients"
    for name in ("a", "b"):
        shutil.copytree(scans, patients / name)
    options = (*NOTHING_ALLOWED, CPUS, f"-v={patients}:/input:ro", f"-v={work}:/output")
    started = engine.call("run", "--detach", *options, IMAGE)
    assert started.returncode == 0, started.stderr
    name = started.stdout.strip()
    try:
        while not (work / "a" / "new_lesions.nii.gz").exists():
            assert _is_running(engine, name), engine.call("logs", name).stderr
            time.sleep(0.2)
        engine.call("stop", "--time=10", name)  # SIGTERM; SIGKILL, and exit code 137, ten seconds later
        assert engine.call("wait", name).stdout.strip() == "143", engine.call("logs", name).stderr
    finally:
        engine.call("rm", "--force", name)
    assert not (work / "b" / "new_lesions.nii.gz").exists()
    assert [path for path in work.rglob("*") if path.name.startswith(".writing-")] == []
    assert _bytes(work / "a" / "new_lesions.nii.gz") == mask_outside

    again = engine.run(options=(CPUS, f"-v={patients}:/input:ro", f"-v={work}:/output"))
    assert again.returncode == 0, again.stderr
    assert [_bytes(work / patient / "new_lesions.nii.gz") for patient in ("a", "b")] == [mask_outside] * 2
    assert {path.stat().st_uid for path in work.rglob("*")} == {UID}


def _is_running(engine: Engine, name: str) -> bool:
    return engine.call("inspect", "--format={{.State.Running}}", name).stdout.strip() == "true"


@container
def test_a_bad_scan_ends_in_one_line_and_no_output(
    engine: Engine, scans: Path, work: Path, tmp_path: Path
) -> None:
    patient = tmp_path / "patients" / "a"
    patient.mkdir(parents=True)
    shutil.copy(scans / "flair_time01.nii.gz", patient)
    write_bad_file("nan", tmp_path).rename(patient / "flair_time02.nii.gz")
    ran = engine.run(options=(f"-v={patient.parent}:/input:ro", f"-v={work}:/output"))
    assert ran.returncode == 1
    assert re.search("^Error: a: .*NaN", ran.stderr, re.MULTILINE)
    assert "Traceback" not in ran.stderr
    assert list(work.rglob("*.nii.gz")) == []


@container
def test_cuda_is_not_replaced_by_the_cpu_unasked(engine: Engine, scans: Path, work: Path) -> None:
    pair = ("-t1", f"{scans}/flair_time01.nii.gz", "-t2", f"{scans}/flair_time02.nii.gz")
    mounts = (f"-v={scans}:{scans}:ro", f"-v={work}:/output")
    ran = engine.run("segment", *pair, "-o", "/output/mask.nii.gz", "--device", "cuda", options=mounts)
    assert ran.returncode == 1
    assert "no CUDA device is visible" in ran.stderr
    assert list(work.iterdir()) == []


@container
@pytest.mark.slow
def test_real_scans_give_the_same_mask(engine: Engine, open_data: Path, work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    for time_point in (1, 2):
        shutil.copy(open_data / PAIR.format(time_point), folder / f"flair_time0{time_point}.nii.gz")
    outside = _segment_outside(folder, tmp_path / "mask.nii.gz")
    ran = engine.run(options=(CPUS, f"-v={folder}:/input:ro", f"-v={work}:/output"))
    assert ran.returncode == 0, ran.stderr
    (mask,) = work.rglob("new_lesions.nii.gz")
    assert _bytes(mask) == outside
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(mask))).any()
