"""Options that several commands share."""

from pathlib import Path
from typing import Any

import click

from ..patients.visits import PAIRS
from .speech import speech_options

_PACKAGE = Path(__file__).resolve().parents[1]
# Installed, the weights lie inside the package; in a clone and in the image, beside it.
_INSIDE, _BESIDE = _PACKAGE / "weights", _PACKAGE.parent / "weights"
WEIGHTS = _INSIDE if _INSIDE.is_dir() else _BESIDE
PREPROCESSING_HELP = "Our own steps, Anima's programs, or none: the scans come without skull and bias field."


def steps_options(command: Any) -> Any:
    """What is done before the network."""
    for option in (
        click.option(
            "--preprocessing",
            type=click.Choice(["native", "anima", "none"]),
            default="native",
            show_default=True,
            help=PREPROCESSING_HELP,
        ),
        click.option(
            "--register",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            show_default=True,
            help=(
                "Align the scans: unless they share a grid and lie within half a millimetre, "
                "always, or never."
            ),
        ),
    ):
        command = option(command)
    return command


def fast_option(command: Any) -> Any:
    """What may be left out."""
    return click.option(
        "--fast",
        is_flag=True,
        help="Find new lesions alone: no vanished ones, and nothing is painted to see what could be missed.",
    )(command)


pairs_option = click.option(
    "--pairs",
    type=click.Choice(PAIRS),
    default="consecutive",
    show_default=True,
    help="Which of more than two visits are compared.",
)
strict_option = click.option("--strict", is_flag=True, help="Exit with 1 if there was a warning, too.")


def scan_options(command: Any) -> Any:
    """A patient's two scans, and how they are prepared."""
    command = steps_options(command)
    for option in (
        click.option(
            "--brain-mask",
            type=click.Path(path_type=Path),
            help="Brain mask on the later scan's grid, instead of ours.",
        ),
        click.option(
            "--followup-series",
            metavar="NUMBER",
            help="Its series in the later DICOM folder, if several could be the FLAIR.",
        ),
        click.option(
            "--baseline-series",
            metavar="NUMBER",
            help="Its series in the earlier DICOM folder, if several could be the FLAIR.",
        ),
        click.option(
            "-t2", "--followup", required=True, type=click.Path(path_type=Path), help="Later FLAIR."
        ),
        click.option(
            "-t1",
            "--baseline",
            required=True,
            type=click.Path(path_type=Path),
            help="Earlier FLAIR: .nii.gz, .nii, .nrrd, .mha, or a DICOM folder.",
        ),
    ):
        command = option(command)
    return command


def machine_options(command: Any) -> Any:
    """What computes, and how much is said of it."""
    command = speech_options(command)
    for option in (
        click.option(
            "--threads", type=click.IntRange(min=1), help="CPU threads; default: all this process may use."
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True
        ),
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            default=WEIGHTS,
            help="Folder of trained weights; default: those shipped.",
        ),
    ):
        command = option(command)
    return command
