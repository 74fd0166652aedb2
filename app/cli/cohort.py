"""The command `run`: words and exit codes only."""

import os
import platform
import sys
import time
from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from ..files import locked
from .options import fast_option, machine_options, pairs_option, steps_options, strict_option

if TYPE_CHECKING:
    from ..method.registration import Register
    from ..patients.cohort import Outcome
    from ..patients.visits import Case, Pairs
    from ..pipeline import Chain

SOURCE_HELP = (
    "Folder of patients, BIDS data set, or CSV table with the columns patient, baseline, followup "
    "(a row a pair), or patient, visit, scan (a row a visit)."
)


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
@pairs_option
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
    pairs: "Pairs",
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

    A patient is a folder with <...>time01<...>, <...>time02<...> and so on (as in MSSEG-2) or just two
    images, or files side by side so named.
    Patients finished before with the same program, weights, settings and scans are skipped.
    One that fails is reported, and the others go on.
    """
    if scheduler and jobs > 1:
        raise click.UsageError(
            "--jobs and --scheduler: how many patients a cluster does at a time is up to its workers"
        )
    from ..patients import cohort, following
    from ..pipeline import Steps

    steps = Steps(preprocessing, register, fast)
    cases, problems = cohort.find(source, output, pairs)
    cohort.check_output(cases, source, output)
    following.check_output(cases, output)
    if scheduler:
        from ..patients import cluster

        outcomes = cluster.on_workers(cases, cluster.Work(output, weights, device, threads, steps), scheduler)
    else:
        from ..patients.segmenter import Segmenter
        from ..patients.threads import in_threads

        outcomes = in_threads(cases, output, Segmenter.load(weights, device, threads, steps), jobs)
    close(do(cases, source, output, outcomes, problems), problems, cases, output / cohort.SUMMARY, strict)


def do(
    cases: "Sequence[Case]",
    source: Path,
    output: Path,
    outcomes: "Generator[Outcome, None, None]",
    problems: "list[InputError]",
    alone: "Collection[str]" = (),
) -> "list[Outcome]":
    """Have all pairs done while nobody else writes to the output folder; say how far it is, and keep summary
    and index up to date. Then follow the lesions of patients with more than two visits.

    What cannot be followed is added to `problems`.

    Where the pairs are those of these patients `alone`, calls for others may run side by side: each keeps its
    patients to itself, and writes no summary and no index.
    """
    from ..patients import bids, cohort

    ended: list[cohort.Outcome] = []
    started = time.monotonic()
    holder = f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M}"

    followed: dict[str, Path] = {}

    def show() -> None:
        if not alone:
            # the table first: it tells the next run that the page is ours
            cohort.write_summary(ended, output / cohort.SUMMARY)
            cohort.write_index(ended, cases, output, followed)

    with ExitStack() as stack:
        for name in [f".run-{patient}" for patient in sorted(alone)] or [".run"]:
            stack.enter_context(locked(output / name, holder))
        stack.enter_context(closing(outcomes))
        if any(case.bids for case in cases):
            bids.write_description(output, source)
        show()
        for outcome in outcomes:
            ended.append(outcome)
            show()
            left_s = cohort.time_left_s(ended, len(cases), time.monotonic() - started)
            left = f"; about {cohort.in_words(left_s)} left" if left_s else ""
            click.echo(f"[{len(ended)}/{len(cases)}] {outcome.patient}: {outcome.in_words()}{left}", err=True)
        if (kept := cohort.confirmed(ended, cases, output)) != ended:
            ended = kept
            show()
        done = {one.patient for one in ended if one.record is not None}
        followed |= _follow(cases, output, done, problems)
        if followed:
            show()
    return ended


def _follow(
    cases: "Sequence[Case]", output: Path, done: "Collection[str]", problems: "list[InputError]"
) -> dict[str, Path]:
    """Follow the lesions of every patient with more than two visits; return their pages.

    What could not be done is added to `problems`.
    """
    from ..patients import cohort, following

    pages = {}
    for patient, pairs in following.patients(cases).items():
        written = following.outputs_of(pairs[0], output)
        results = {pair.name: cohort.outputs_of(pair, output) for pair in pairs if pair.name in done}
        try:
            followed = following.follow_patient(pairs, results, written)
        except InputError as error:
            problems.append(InputError(f"{patient or output}: {error}"))
        else:
            pages[patient or "all visits"] = written.page
            click.echo(f"{f'{patient}: ' if patient else ''}{followed.headline()}: {written.page}")
    return pages


def close(
    ended: "list[Outcome]", problems: "list[InputError]", cases: "Sequence[Case]", where: Path, strict: bool
) -> None:
    """Say what came of all pairs and `where` that is, and leave with exit code 1 if something failed."""
    failed = [f"{outcome.patient}: {outcome.problem}" for outcome in ended if outcome.record is None]
    skipped = sum(outcome.skipped for outcome in ended)
    warnings = sum(len(outcome.record.warnings) for outcome in ended if outcome.record is not None)
    warned = f", {warnings} warning{'' if warnings == 1 else 's'}" if warnings else ""
    before = f" ({skipped} of them before)" if skipped else ""
    what = "patients" if len({case.patient for case in cases}) == len(cases) else "pairs"
    click.echo(f"{len(ended) - len(failed)} of {len(cases)} {what} done{before}{warned}: {where}")
    for failure in (*problems, *failed):
        click.echo(f"Error: {failure}", err=True)
    if problems or failed or (strict and warnings):
        sys.exit(1)
