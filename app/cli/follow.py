"""The command `follow`: words and exit codes only."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from ..patients.visits import PAIRS
from .options import machine_options, steps_options, strict_option

if TYPE_CHECKING:
    from ..method.registration import Register
    from ..patients.visits import Pairs
    from ..pipeline import Chain


@click.command()
@click.argument(
    "scans", nargs=-1, required=True, metavar="VISIT1 VISIT2 ...", type=click.Path(path_type=Path)
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder: follow.html, follow.csv, follow.json, and a folder for each pair that is compared.",
)
@click.option(
    "--pairs",
    type=click.Choice(PAIRS),
    default="all",
    show_default=True,
    help="Which visits are compared. With all, comparisons check each other.",
)
@strict_option
@steps_options
@machine_options
def follow(
    scans: tuple[Path, ...],
    output: Path,
    pairs: "Pairs",
    strict: bool,
    preprocessing: "Chain",
    register: "Register",
    device: str,
    threads: int | None,
    weights: Path,
) -> None:
    """Follow the lesions of one patient through all visits, given in the order of time.

    A visit is a FLAIR scan, an image or a DICOM folder. Pairs that were compared before with the same
    program, weights, settings and scans are not compared again.
    """
    from ..patients import cohort, following, visits
    from ..patients.segmenter import Segmenter
    from ..patients.threads import in_threads
    from ..pipeline import Steps
    from .cohort import close, do

    if len(scans) < 2:
        raise InputError(f"{len(scans)} visit; wanted two or more, in the order of time")
    given = [visits.Scanned(str(number), scan) for number, scan in enumerate(scans, start=1)]
    named = visits.cases("visit", given, pairs, by_visit=True)
    cases = [replace(case, patient="", followed=True) for case in named]
    cohort.check_output(cases, scans[0], output)
    following.check_output(cases, output)
    segmenter = Segmenter.load(weights, device, threads, Steps(preprocessing, register))
    problems: list[InputError] = []
    ended = do(cases, scans[0], output, in_threads(cases, output, segmenter, 1), problems)
    close(ended, problems, cases, output / cohort.SUMMARY, strict)
