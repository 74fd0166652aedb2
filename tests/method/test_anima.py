import logging
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from app.errors import InputError
from app.images import grids, storage
from app.method import anima
from app.method.anima import Anima
from tests.made_up_anima import install, write_program


@pytest.fixture
def installed(tmp_path: Path, scan: sitk.Image, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with stand-ins for Anima, its scripts and their data, and the settings that name them."""
    monkeypatch.setenv("ANIMA_CONFIG", str(install(tmp_path, scan)))
    return tmp_path


def _commands(folder: Path) -> list[str]:
    """What the stand-ins were called with: the paths' last parts alone, without .nrrd."""
    lines = (folder / "log").read_text().splitlines()
    return [
        " ".join(part.rpartition("/")[2].removesuffix(".nrrd") for part in line.split("\t")) for line in lines
    ]


EXTRACT_AND_JOIN = [
    "extraction -i baseline_scaled --brain baseline_brain --mask baseline_mask",
    "extraction -i followup_scaled --brain followup_brain --mask followup_mask",
    "animaImageArithmetic -i baseline_mask -a followup_mask -o both",
    "animaThrImage -i both -t 0.5 -o union",
]
MASK_AND_CORRECT = [
    "animaMaskImage -i baseline -m union -o baseline_masked",
    "animaMaskImage -i followup -m union -o followup_masked",
    "animaN4BiasCorrection -i baseline_masked -B 0.3 -o baseline_masked_corrected",
    "animaN4BiasCorrection -i followup_masked -B 0.3 -o followup_masked_corrected",
]


def test_the_organisers_chain(installed: Path, scan: sitk.Image) -> None:
    """Extraction, union, mask, N4, in this order; the stand-ins copy, so the scans come back as they went in,
    on their own grid to the bit.
    """
    followup = scan * 2
    corrected = anima.preprocess(scan, followup, anima.find())
    assert _commands(installed) == EXTRACT_AND_JOIN + MASK_AND_CORRECT
    np.testing.assert_array_equal(grids.array(corrected.baseline), grids.array(scan))
    np.testing.assert_array_equal(grids.array(corrected.followup), grids.array(followup))
    np.testing.assert_array_equal(grids.array(corrected.brain), grids.array(scan) > 50)
    for result in (corrected.baseline, corrected.followup, corrected.brain):
        assert (result.GetOrigin(), result.GetSpacing(), result.GetDirection()) == (
            scan.GetOrigin(),
            scan.GetSpacing(),
            scan.GetDirection(),
        )


def test_denoising_and_matching_come_last(installed: Path, scan: sitk.Image) -> None:
    template = installed / "template.nii.gz"
    storage.write(sitk.Cast(scan, sitk.sitkInt16), template)
    anima.preprocess(scan, scan, anima.find(), denoise=True, template=template)
    assert _commands(installed)[8:] == [
        "animaNLMeans -i baseline_masked_corrected -n 3 -o baseline_masked_corrected_denoised",
        "animaNLMeans -i followup_masked_corrected -n 3 -o followup_masked_corrected_denoised",
        "animaNyulStandardization -m baseline_masked_corrected_denoised -r template -o "
        "baseline_masked_corrected_denoised_matched",
        "animaNyulStandardization -m followup_masked_corrected_denoised -r template -o "
        "followup_masked_corrected_denoised_matched",
    ]


def test_no_more_threads_than_allowed(installed: Path, scan: sitk.Image) -> None:
    anima.preprocess(scan, scan, anima.find())
    allowed = str(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
    assert set((installed / "log.threads").read_text().splitlines()) == {allowed}


def test_nothing_is_left_behind(installed: Path, scan: sitk.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = installed / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    write_program(installed, "animaThrImage", "#!/bin/sh\nexit 3\n")
    with pytest.raises(InputError):
        anima.preprocess(scan, scan, anima.find())
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_that_xml_cannot_name_is_refused(
    installed: Path, scan: sitk.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed / "a<b").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(installed / "a<b"))
    with pytest.raises(InputError, match="a<b: a temporary folder with <"):
        anima.preprocess(scan, scan, anima.find())


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo progress; printf 'ITK exception\\nfile not readable\\n\\n' >&2; exit 1",
            "animaN4BiasCorrection: exit code 1, file not readable; wanted 0",
        ),
        ("exit 127", "animaN4BiasCorrection: exit code 127, nothing on stderr; wanted 0"),
        ("kill -9 $$", "animaN4BiasCorrection: exit code -9, nothing on stderr; wanted 0"),
        (
            "echo 'disk full' >&2",
            "animaN4BiasCorrection: exit code 0 but no result, disk full; wanted an image",
        ),
    ],
)
def test_a_program_that_fails(installed: Path, scan: sitk.Image, script: str, message: str) -> None:
    write_program(installed, "animaN4BiasCorrection", f"#!/bin/sh\n{script}\n")
    with pytest.raises(InputError) as failure:
        anima.preprocess(scan, scan, anima.find())
    assert str(failure.value) == message


def test_a_program_of_another_machine(installed: Path, scan: sitk.Image) -> None:
    write_program(installed, "animaImageArithmetic", "\x7fELF")
    with pytest.raises(InputError, match=r"animaImageArithmetic: cannot be started \(Exec format error\)"):
        anima.preprocess(scan, scan, anima.find())


def test_a_complaint_with_a_result_is_a_warning(
    installed: Path, scan: sitk.Image, caplog: pytest.LogCaptureFixture
) -> None:
    write_program(
        installed, "animaThrImage", '#!/bin/sh\necho odd >&2\nfor last; do :; done\ncp "$2" "$last"\n'
    )
    with caplog.at_level(logging.WARNING):
        anima.preprocess(scan, scan, anima.find())
    assert caplog.messages == ["animaThrImage: odd"]


def test_an_extraction_that_ends_well_without_a_mask(installed: Path, scan: sitk.Image) -> None:
    """As Anima's script does when one of its own programs fails."""
    (installed / "scripts" / anima.EXTRACTION).write_text("import sys; print('no atlas', file=sys.stderr)")
    with pytest.raises(
        InputError, match=r"animaAtlasBasedBrainExtraction.py: exit code 0 but no result, no atlas"
    ):
        anima.preprocess(scan, scan, anima.find())


def test_the_first_program_of_the_extraction_that_fails_is_named(installed: Path, scan: sitk.Image) -> None:
    """Though the script goes on, and even ends with a mask."""
    script = installed / "scripts" / anima.EXTRACTION
    call = """
import subprocess
programs = settings.get("anima-scripts", "anima")
for name in ("animaConvertImage", "animaPyramidalBMRegistration", "animaCreateImage"):
    subprocess.call([programs + name, "-i", sys.argv[2], "-o", "x.nrrd"])
"""
    script.write_text(script.read_text() + call)
    anima.preprocess(scan, scan, anima.find())
    for name in ("animaPyramidalBMRegistration", "animaCreateImage"):
        write_program(installed, name, "#!/bin/sh\necho 'too few blocks' >&2\nexit 3\n")
    with pytest.raises(InputError) as failure:
        anima.preprocess(scan, scan, anima.find())
    assert str(failure.value) == (
        "animaAtlasBasedBrainExtraction.py: animaPyramidalBMRegistration: "
        "exit code 3, too few blocks; wanted 0"
    )


def test_the_extraction_sees_copies_of_a_fixed_range(installed: Path, scan: sitk.Image) -> None:
    """Anima drops blocks whose spread is below an absolute number. The scans themselves stay as they are."""
    script = installed / "scripts" / anima.EXTRACTION
    script.write_text(script.read_text() + f"shutil.copy(sys.argv[2], {str(installed / 'seen.nrrd')!r})\n")
    dim = scan * 0.01
    corrected = anima.preprocess(dim, dim, anima.find())
    seen = grids.array(storage.read(installed / "seen.nrrd"))
    assert seen.max() == pytest.approx(1000, rel=1e-5)
    np.testing.assert_array_equal(grids.array(corrected.baseline), grids.array(dim))


def test_an_empty_brain(installed: Path, scan: sitk.Image) -> None:
    storage.write(scan > 1e6, installed / "data" / anima.ATLAS[1])
    with pytest.raises(InputError, match="no brain in either scan"):
        anima.preprocess(scan, scan, anima.find())


def test_a_mask_on_another_grid(installed: Path, scan: sitk.Image) -> None:
    storage.write(sitk.Image([4, 4, 4], sitk.sitkUInt8) + 1, installed / "data" / anima.ATLAS[1])
    with pytest.raises(InputError, match="wanted the scan's grid"):
        anima.preprocess(scan, scan, anima.find())


def test_the_settings_of_the_home_folder(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (installed / ".anima").mkdir()
    (installed / "config.txt").rename(installed / ".anima" / "config.txt")
    monkeypatch.delenv("ANIMA_CONFIG")
    monkeypatch.setenv("HOME", str(installed))
    assert anima.find() == Anima(installed / "programs", installed / "scripts", installed / "data")


def test_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANIMA_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        InputError, match=rf"^{tmp_path}/.anima/config.txt: no such file; wanted Anima's settings"
    ):
        anima.find()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anima = /opt/anima/", "not a settings file (File contains no section headers.)"),
        ("[anima]\nanima = /opt/anima/", "no key 'anima' in a section [anima-scripts]"),
        ("[anima-scripts]\nanima = /opt/anima/", "no key 'anima-scripts-public-root'"),
        (
            "[anima-scripts]\nanima = /opt/anima/\nanima-scripts-public-root =\n",
            "no key 'anima-scripts-public-root'",
        ),
        ("\xff", "not a settings file"),
    ],
)
def test_settings_that_say_too_little(installed: Path, text: str, message: str) -> None:
    config = installed / "config.txt"
    config.write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as failure:
        anima.find()
    assert str(failure.value).startswith(f"{config}: {message}")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("programs/animaThrImage", "anima"),
        ("programs/animaPyramidalBMRegistration", "anima"),
        ("scripts/brain_extraction/animaAtlasBasedBrainExtraction.py", "anima-scripts-public-root"),
        ("data/icc_atlas/Reference_T1.nrrd", "extra-data-root"),
    ],
)
def test_a_part_that_is_missing(installed: Path, part: str, key: str) -> None:
    (installed / part).unlink()
    with pytest.raises(InputError) as failure:
        anima.find()
    assert str(failure.value).startswith(f"{installed / part}: no such ")
    assert str(failure.value).endswith(f"in the folder that {installed}/config.txt calls '{key}'")


def test_an_atlas_that_git_lfs_did_not_fetch(installed: Path) -> None:
    (installed / "data" / anima.ATLAS[0]).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    with pytest.raises(
        InputError,
        match=r"Reference_T1.nrrd: a Git LFS pointer; wanted the image itself \(run 'git lfs pull' in ",
    ):
        anima.find()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_settings_that_may_not_be_read(installed: Path) -> None:
    (installed / "config.txt").chmod(0)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        anima.find()


def test_what_decides_the_result_is_hashed(installed: Path) -> None:
    """Another program, script or atlas is another task."""
    before = anima.sha256(anima.find())
    assert len(before) == len(anima.CHAIN) + len(anima.CALLED_BY_EXTRACTION) + 1 + len(anima.ATLAS)
    for path in (
        installed / "programs" / "animaThrImage",
        installed / "scripts" / anima.EXTRACTION,
        installed / "data" / anima.ATLAS[0],
    ):
        path.write_bytes(path.read_bytes() + b"\n")
        after = anima.sha256(anima.find())
        assert [name for name in before if before[name] != after[name]] == [path.name]
        before = after


def test_a_stopped_run_stops_what_its_programs_have_started(installed: Path, scan: sitk.Image) -> None:
    """A program that waits for one of its own is stopped by a signal: neither lives on."""
    started = installed / "started"
    write_program(
        installed,
        "animaMaskImage",
        f"#!/bin/sh\nsleep 600 & echo $! > {started}.part\nmv {started}.part {started}\nwait\n",
    )

    def stop() -> None:
        while not started.is_file():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    stopper = threading.Thread(target=stop, daemon=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # workers of pytest-xdist ignore it
    try:
        stopper.start()
        with pytest.raises(KeyboardInterrupt):
            anima.preprocess(scan, scan, anima.find())
    finally:
        signal.signal(signal.SIGINT, before)
    stopper.join()
    grandchild = Path("/proc") / started.read_text().strip() / "stat"
    deadline = time.monotonic() + 30
    while grandchild.exists() and grandchild.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not grandchild.exists() or grandchild.read_text().split()[2] == "Z"


@pytest.mark.usefixtures("installed")
def test_programs_say_that_they_have_started(scan: sitk.Image, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        anima.preprocess(scan, scan, anima.find())
    assert caplog.messages.count("animaN4BiasCorrection: started") == 2
    assert caplog.messages.count(f"{anima.EXTRACTION.name}: started") == 2
