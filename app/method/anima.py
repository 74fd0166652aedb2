"""How do the challenge's organisers prepare a pair?

Their chain, run by Anima's own programs where a user has installed them.

The order and the options are those of animaMSLongitudinalPreprocessing.py (Anima-Scripts-Public;
docs/method.md, 5): the brain of each scan by an atlas, the union of both masks, both scans masked with it, N4
with -B 0.3, and histogram matching if a template is given. Denoising, which the paper adds, comes after N4 as
in Anima's other MS scripts, with -n 3. Anima itself (AGPL) is no part of this tool; see anima.irisa.fr for
its three parts.
"""

import configparser
import logging
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ..errors import InputError
from ..files import temporary
from ..images import grids, storage
from ..images.scan import file_sha256

SECTION, KEYS = "anima-scripts", ("anima", "anima-scripts-public-root", "extra-data-root")
EXTRACTION = Path("brain_extraction", "animaAtlasBasedBrainExtraction.py")
ATLAS = (Path("icc_atlas", "Reference_T1.nrrd"), Path("icc_atlas", "BrainMask.nrrd"))
LFS_POINTER = b"version https://git-lfs"  # what a clone without Git LFS holds instead of an image
# brightest voxel of the copies that the extraction sees: Anima drops blocks whose spread is below 5
RANGE = 1000.0
LOOK_S = 0.5  # how often it is looked whether a program has ended, or is to be stopped
FAILED = "failed"  # names the first program of the extraction that failed
CHAIN = (
    "animaImageArithmetic",
    "animaThrImage",
    "animaMaskImage",
    "animaN4BiasCorrection",
    "animaNLMeans",
    "animaNyulStandardization",
)
CALLED_BY_EXTRACTION = (
    "animaConvertImage",
    "animaPyramidalBMRegistration",
    "animaDenseSVFBMRegistration",
    "animaTransformSerieXmlGenerator",
    "animaApplyTransformSerie",
    "animaCreateImage",
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Anima:
    """Where the three parts of Anima are."""

    programs: Path  # the folder of animaN4BiasCorrection and the others
    scripts: Path  # Anima-Scripts-Public
    atlas: Path  # Anima-Scripts-Data-Public, with icc_atlas


@dataclass(frozen=True)
class Corrected:
    """Both scans on their common grid, 0 outside the brain, bias field divided out."""

    baseline: sitk.Image  # float32
    followup: sitk.Image
    brain: sitk.Image  # uint8, 1 where either scan shows brain


def find() -> Anima:
    """Read Anima's settings from the file that ANIMA_CONFIG names, or else from ~/.anima/config.txt.

    Raises InputError if the file, one of its keys, a program, the extraction script or its atlas is missing,
    and says where it was looked for.
    """
    config = _config_file()
    anima = _read(config)
    for program in (*CHAIN, *CALLED_BY_EXTRACTION):
        if not os.access(anima.programs / program, os.X_OK):
            raise InputError(
                f"{anima.programs / program}: no such program; wanted Anima's in the folder that "
                f"{config} calls '{KEYS[0]}'"
            )
    if not (anima.scripts / EXTRACTION).is_file():
        raise InputError(
            f"{anima.scripts / EXTRACTION}: no such script; wanted Anima-Scripts-Public in the "
            f"folder that {config} calls '{KEYS[1]}'"
        )
    for volume in (anima.atlas / name for name in ATLAS):
        if not volume.is_file():
            raise InputError(
                f"{volume}: no such file; wanted Anima-Scripts-Data-Public in the folder that "
                f"{config} calls '{KEYS[2]}'"
            )
        with volume.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise InputError(
                    f"{volume}: a Git LFS pointer; wanted the image itself (run 'git lfs pull' in "
                    f"{anima.atlas})"
                )
    return anima


def sha256(anima: Anima) -> dict[str, str]:
    """{name: SHA-256} of every file of Anima that decides the result: programs, script and atlas."""
    files = [*(anima.programs / name for name in (*CHAIN, *CALLED_BY_EXTRACTION)), anima.scripts / EXTRACTION]
    return {path.name: file_sha256(path) for path in (*files, *(anima.atlas / name for name in ATLAS))}


def preprocess(
    baseline: sitk.Image,
    followup: sitk.Image,
    anima: Anima,
    denoise: bool = False,
    template: Path | None = None,
) -> Corrected:
    """The organisers' chain on two scans on one grid.

    It takes minutes a scan, on as many threads as SimpleITK is set to use.

    With `denoise`, non-local means after N4; with a `template`, intensities matched to that FLAIR scan at the
    end. Raises InputError if a program fails or no brain is found.
    """
    with temporary() as folder:
        if set("<>&") & set(str(folder)):
            raise InputError(
                f"{folder.parent}: a temporary folder with <, > or & in its path, which Anima's XML files "
                "cannot hold; wanted another: set TMPDIR"
            )
        run = _Programs(anima, folder)
        scans = [run.file("baseline"), run.file("followup")]
        for scan, path in zip((baseline, followup), scans, strict=True):
            storage.write(scan, path)
            storage.write(scan * (RANGE / float(grids.array(scan).max())), run.file(f"{path.stem}_scaled"))

        union = _both_brains(run, scans)
        brain = grids.like(sitk.GetArrayFromImage(storage.read_mask(union, grid_of=baseline)), baseline)
        if not sitk.GetArrayViewFromImage(brain).any():
            raise InputError(
                f"{EXTRACTION.name}: no brain in either scan; wanted two FLAIR scans of one head"
            )

        scans = [
            run("animaMaskImage", "-i", scan, "-m", union, "-o", run.file(f"{scan.stem}_masked"))
            for scan in scans
        ]
        scans = [
            run("animaN4BiasCorrection", "-i", scan, "-B", "0.3", "-o", run.file(f"{scan.stem}_corrected"))
            for scan in scans
        ]
        if denoise:
            scans = [
                run("animaNLMeans", "-i", scan, "-n", "3", "-o", run.file(f"{scan.stem}_denoised"))
                for scan in scans
            ]
        if template is not None:
            scans = _matched(run, scans, template)
        corrected = [grids.like(grids.array(storage.read(scan)), baseline) for scan in scans]
    return Corrected(corrected[0], corrected[1], brain)


def _both_brains(run: "_Programs", scans: list[Path]) -> Path:
    """The brain of either scan, as a mask."""
    brains = [
        run.extraction(
            *("-i", run.file(f"{scan.stem}_scaled")),
            *("--brain", run.file(f"{scan.stem}_brain"), "--mask", run.file(f"{scan.stem}_mask")),
        )
        for scan in scans
    ]
    both = run("animaImageArithmetic", "-i", brains[0], "-a", brains[1], "-o", run.file("both"))
    return run("animaThrImage", "-i", both, "-t", "0.5", "-o", run.file("union"))


def _matched(run: "_Programs", scans: list[Path], template: Path) -> list[Path]:
    """The scans with the template's intensities."""
    # as float32, since animaNyulStandardization gives its result the template's pixel type
    storage.write(storage.read(template), run.file("template"))
    program, reference = "animaNyulStandardization", run.file("template")
    return [
        run(program, "-m", scan, "-r", reference, "-o", run.file(f"{scan.stem}_matched")) for scan in scans
    ]


@dataclass(frozen=True)
class _Programs:
    """Runs Anima's programs on the files of one folder.

    The last argument of a call names the file that it writes, and is returned.
    """

    anima: Anima
    folder: Path

    def file(self, name: str) -> Path:
        """NRRD, for two reasons.

        NIfTI rounds directions, and the extraction script copies NRRD masks to whatever name it is given.
        """
        return self.folder / f"{name}.nrrd"

    def __call__(self, program: str, *arguments: str | Path) -> Path:
        return self._run(program, [self.anima.programs / program, *arguments])

    def extraction(self, *arguments: str | Path) -> Path:
        """The script takes its settings from ~/.anima/config.txt alone, and joins folders and names without a
        separator.
        """
        settings = self.folder / ".anima" / "config.txt"
        settings.parent.mkdir(exist_ok=True)
        folders = (self._watched(), self.anima.scripts, self.anima.atlas)
        settings.write_text(
            "\n".join(
                [f"[{SECTION}]", *(f"{key} = {folder}/" for key, folder in zip(KEYS, folders, strict=True))]
            ),
            encoding="utf-8",
        )
        return self._run(EXTRACTION.name, [sys.executable, self.anima.scripts / EXTRACTION, *arguments])

    def _watched(self) -> Path:
        """A folder of scripts with the names of Anima's programs: each runs its own.

        The first that fails is noted: the extraction script goes on when one of its programs fails.
        """
        folder = self.folder / "watched"
        folder.mkdir(exist_ok=True)
        failed = shlex.quote(str(self.folder / FAILED))
        for name in (*CHAIN, *CALLED_BY_EXTRACTION):
            program, said = (
                shlex.quote(str(self.anima.programs / name)),
                shlex.quote(str(folder / f"{name}.said")),
            )
            script = folder / name
            script.write_text(
                f'#!/bin/sh\n{program} "$@" 2> {said}\ncode=$?\ncat {said} >&2\n'
                f"[ $code = 0 ] || [ -e {failed} ] || "
                f'echo "{name}: exit code $code, $(tail -n 1 {said})" > {failed}\n'
                "exit $code\n",
                encoding="utf-8",
            )
            script.chmod(0o700)
        return folder

    def _check_watched(self) -> None:
        """Raise InputError for the first program of the extraction that failed."""
        failed = self.folder / FAILED
        if failed.is_file():
            line = " ".join(failed.read_text(encoding="utf-8", errors="replace").split())
            raise InputError(f"{EXTRACTION.name}: {line}; wanted 0")

    def _run(self, name: str, command: Sequence[str | Path]) -> Path:
        threads = str(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
        home = {
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": threads,
        }
        try:
            logger.info("%s: started", name, extra={"program": name})
            code, stderr = _ended(command, self.folder, os.environ | home)
        except OSError as error:
            raise InputError(
                f"{command[0]}: cannot be started ({error.strerror}); wanted a program for this machine"
            ) from error
        if name == EXTRACTION.name:
            self._check_watched()
        said = [line.strip() for line in stderr.splitlines() if line.strip()]
        last = said[-1] if said else "nothing on stderr"
        if code != 0:
            raise InputError(f"{name}: exit code {code}, {last}; wanted 0")
        output = Path(command[-1])
        if not output.is_file():  # the extraction script goes on when one of its programs fails
            raise InputError(f"{name}: exit code 0 but no result, {last}; wanted an image")
        if said:
            logger.warning("%s: %s", name, last)
        return output


def _ended(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and stderr of a command that is run in a folder.

    If this program is stopped, the command stops, too, with all that it has started.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            while True:  # a thread is stopped between two instructions of Python alone
                try:
                    said = process.communicate(timeout=LOOK_S)[1]
                    return process.returncode, said
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def _config_file() -> Path:
    named = os.environ.get("ANIMA_CONFIG")
    try:
        config = Path(named) if named else Path("~/.anima/config.txt").expanduser()
    except RuntimeError as error:
        raise InputError(
            "~/.anima/config.txt: this user has no home folder; wanted ANIMA_CONFIG to name Anima's settings"
        ) from error
    if not config.is_file():
        raise InputError(
            f"{config}: no such file; wanted Anima's settings (~/.anima/config.txt, or the file "
            "that ANIMA_CONFIG names)"
        )
    return config


def _read(config: Path) -> Anima:
    settings = configparser.RawConfigParser()
    try:
        settings.read_string(config.read_text(encoding="utf-8"), source=config.name)
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{config}: not a settings file ({str(error).splitlines()[0]}); wanted Anima's, with a "
            f"section [{SECTION}]"
        ) from error
    except OSError as error:
        raise InputError(f"{config}: cannot be read ({error.strerror}); wanted Anima's settings") from error
    for key in KEYS:
        if not settings.get(SECTION, key, fallback=""):
            raise InputError(
                f"{config}: no key '{key}' in a section [{SECTION}]; wanted the folders of Anima, "
                "its scripts and their data"
            )
    return Anima(*(Path(settings.get(SECTION, key)).absolute() for key in KEYS))
