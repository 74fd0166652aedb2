"""Can the program be installed, and is its version the same everywhere?"""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from app import __version__
from app.__main__ import MALLOC
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
# Python runs this file whenever it starts: it tells how often that is, and with which settings of glibc.
SAYS_THAT_PYTHON_STARTS = "import os, sys; print('starts', os.environ.get('GLIBC_TUNABLES'), file=sys.stderr)"


def _pins(lines: list[str]) -> dict[str, Version]:
    """{package: version} of lines such as 'torch==2.13.0'."""
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.lower(): Version(version) for name, version in pairs}


def test_the_files_that_repeat_the_version_have_this_one() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").glob("*.md")}
    for name in ("README.md", "CITATION.cff", "Dockerfile", "boutiques.json", "CHANGELOG.md"):
        texts[REPOSITORY / name] = (REPOSITORY / name).read_text(encoding="utf-8")
    repeated = re.compile(
        r"ms-new-lesions:(\d[\d.]*\d)|^version: (.+)$|^ARG VERSION=(.+)$|\"tool-version\": "
        r"\"(.+)\"|^## (\d+\.\d+\.\d+)",
        re.MULTILINE,
    )
    found = {
        path.name: {"".join(groups) for groups in repeated.findall(text)} for path, text in texts.items()
    }
    assert {name for name, versions in found.items() if versions} >= {
        "CITATION.cff",
        "Dockerfile",
        "boutiques.json",
        "CHANGELOG.md",
        "organisers.md",
    }
    assert set.union(*found.values()) == {__version__}


def test_the_image_s_and_the_developers_versions_lie_in_the_ranges_of_who_installs() -> None:
    exact = _pins((REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines())
    groups = PROJECT["dependency-groups"]
    exact |= _pins([each for each in groups["dev"] + groups["image"] if isinstance(each, str)])
    extras = PROJECT["project"]["optional-dependencies"]
    ranges = [*PROJECT["project"]["dependencies"], *(each for extra in extras.values() for each in extra)]
    outside = [
        text
        for text, wanted in ((text, Requirement(text)) for text in ranges)
        if not wanted.specifier.contains(exact[wanted.name.lower()])
    ]
    assert outside == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the hatchling of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_one_package_with_the_weights_inside(wheel: Path) -> None:
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]
    assert {name.parts[0] for name in names} == {
        "ms_new_lesions",
        f"ms_new_lesions-{__version__}.dist-info",
    }
    shipped = {path.name for path in (REPOSITORY / "weights").iterdir()}
    assert {name.name for name in names if name.parent == Path("ms_new_lesions/weights")} == shipped


@pytest.mark.slow
def test_demo_runs_from_the_wheel_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    """The environment is empty, but for torch and the other dependencies: it borrows those of this one."""
    fresh = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    install = [sys.executable, "-m", "pip", "--python", str(fresh), "install", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = fresh.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "sitecustomize.py").write_text(SAYS_THAT_PYTHON_STARTS)
    unset = ("GLIBC_TUNABLES", "PYTHONPATH")
    ran = subprocess.run(
        [fresh / "bin" / "ms-new-lesions", "demo"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in unset},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "demo" / "new_lesions.nii.gz").is_file()
    starts = [line for line in ran.stderr.splitlines() if line.startswith("starts ")]
    assert starts[:2] == ["starts None", f"starts {MALLOC}"]
