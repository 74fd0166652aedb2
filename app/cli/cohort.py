"""The command `run`: words and exit codes only."""

import os
import platform
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..files import locked
from .options import fast_option, machine_options, steps_options, strict_option

if TYPE_CHECKING:
    from ..errors import InputError
    from ..method.registration import Register
    from ..patients.cohort import Outcome
    from ..pipeline import Chain

SOURCE_HELP = "Folder of patients, BIDS data set, or CSV table with the columns patient, baseline, followup."


@click.command()
@click.option(
    "--input",
    "source",
    default=Path("/input"),
    show_default=True,
    type=click.Path(path_type=Path),
    help=SOURCE_HELP,
)
@click.option(
    "--output",
    default=Path("/output"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="One folder a patient, summary.csv and index.html.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Patients at a time.")
@click.option(
    "--scheduler", help="Give the patients to the Dask cluster at this address, such as tcp://10.0.0.1:8786."
)
@strict_option
@steps_options
@fast_option
@machine_options
def run(
    source: Path,
    output: Path,
    jobs: int,
    scheduler: str | None,
    strict: bool,
    preprocessing: "Chain",
    register: "Register",
    fast: bool,
    device: str,
    threads: int | None,
    weights: Path,
) -> None:
    """Find the new lesions of every patient in a folder, a BIDS data set or a table.

    A patient is a folder with <...>time01<...> and <...>time02<...> (as in MSSEG-2) or just two images,
    or two files side by side so named.
    Patients finished before with the same program, weights, settings and scans are skipped.
    One that fails is reported, and the others go on.
    """
    if scheduler and jobs > 1:
        raise click.UsageError(
            "--jobs and --scheduler: how many patients a cluster does at a time is up to its workers"
        )
    from ..patients import bids, cohort
    from ..pipeline import Steps

    steps = Steps(preprocessing, register, fast)
    cases, problems = cohort.find(source, output)
    cohort.check_output(cases, source, output)
    if scheduler:
        from ..patients import cluster

        outcomes = cluster.on_workers(cases, cluster.Work(output, weights, device, threads, steps), scheduler)
    else:
        from ..patients.segmenter import Segmenter
        from ..patients.threads import in_threads

        outcomes = in_threads(cases, output, Segmenter.load(weights, device, threads, steps), jobs)
    ended: list[cohort.Outcome] = []
    started = time.monotonic()
    holder = f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M}"
    with locked(output / ".run", holder), closing(outcomes):
        if any(case.bids for case in cases):
            bids.write_description(output)
        cohort.write_index(ended, cases, output)
        cohort.write_summary(ended, output / cohort.SUMMARY)
        for outcome in outcomes:
            ended.append(outcome)
            cohort.write_index(ended, cases, output)
            cohort.write_summary(ended, output / cohort.SUMMARY)
            left_s = cohort.time_left_s(ended, len(cases), time.monotonic() - started)
            left = f"; about {cohort.in_words(left_s)} left" if left_s else ""
            click.echo(f"[{len(ended)}/{len(cases)}] {outcome.patient}: {outcome.in_words()}{left}", err=True)
        if (kept := cohort.confirmed(ended, cases, output)) != ended:
            ended = kept
            cohort.write_index(ended, cases, output)
            cohort.write_summary(ended, output / cohort.SUMMARY)

    _close(ended, problems, len(cases), output, strict)


def _close(
    ended: "list[Outcome]", problems: "list[InputError]", patients: int, output: Path, strict: bool
) -> None:
    """Say what came of all patients, and leave with exit code 1 if something failed."""
    failed = [f"{outcome.patient}: {outcome.problem}" for outcome in ended if outcome.record is None]
    skipped = sum(outcome.skipped for outcome in ended)
    warnings = sum(len(outcome.record.warnings) for outcome in ended if outcome.record is not None)
    warned = f", {warnings} warning{'' if warnings == 1 else 's'}" if warnings else ""
    before = f" ({skipped} of them before)" if skipped else ""
    click.echo(
        f"{len(ended) - len(failed)} of {patients} patients done{before}{warned}: {output / 'summary.csv'}"
    )
    for failure in (*problems, *failed):
        click.echo(f"Error: {failure}", err=True)
    if problems or failed or (strict and warnings):
        sys.exit(1)
