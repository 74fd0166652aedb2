"""Stand-ins for Anima's programs, its scripts and its atlas."""

import stat
from pathlib import Path

import SimpleITK as sitk

from app.images import grids, storage
from app.method import anima

# A stand-in for each program: notes its name, arguments and threads, then copies its first file to its last
# argument.
PROGRAM = """#!/bin/sh
{{ printf '%s' "$(basename "$0")"; printf '\\t%s' "$@"; printf '\\n'; }} >> {log}
printf '%s\\n' "$ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS" >> {log}.threads
for last; do :; done
cp "$2" "$last"
"""

# It finds the atlas as Anima's script does: by ~/.anima/config.txt, folder and name joined without a
# separator. Its mask is the atlas's.
EXTRACTION = """
import configparser, os, shutil, sys
with open({log!r}, "a") as log:
    log.write("\\t".join(["extraction", *sys.argv[1:]]) + "\\n")
settings = configparser.RawConfigParser()
settings.read(os.path.join(os.path.expanduser("~"), ".anima", "config.txt"))
mask = sys.argv[sys.argv.index("--mask") + 1]
shutil.copy(settings.get("anima-scripts", "extra-data-root") + "icc_atlas/BrainMask.nrrd", mask)
"""


def install(folder: Path, scan: sitk.Image) -> Path:
    """Fill a folder with stand-ins, whose atlas has the grid of a scan.

    Returns the file of settings that names them.
    """
    log = folder / "log"
    for part in ("programs", "scripts/brain_extraction", "data/icc_atlas"):
        (folder / part).mkdir(parents=True)
    for name in (*anima.CHAIN, *anima.CALLED_BY_EXTRACTION):
        write_program(folder, name, PROGRAM.format(log=log))
    (folder / "scripts" / anima.EXTRACTION).write_text(EXTRACTION.format(log=str(log)))
    for volume in anima.ATLAS:
        storage.write(grids.like(grids.array(scan) > 50, scan), folder / "data" / volume)
    config = folder / "config.txt"
    config.write_text(
        f"[anima-scripts]\nanima = {folder}/programs/\nanima-scripts-public-root = "
        f"{folder}/scripts\nextra-data-root = {folder}/data/\n"
    )
    return config


def write_program(folder: Path, name: str, text: str) -> None:
    """Put another stand-in in the place of a program."""
    path = folder / "programs" / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
