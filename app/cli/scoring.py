"""The commands `score` and `evaluate`: words and exit codes only."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError

if TYPE_CHECKING:  # SimpleITK and scipy take seconds to import: --help must not wait for them
    from ..scoring.masks import Job


def _print_about(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from ..scoring import segperf

    click.echo("\n\n".join(segperf.about()))
    ctx.exit()


_FRACTION = click.FloatRange(0, 1, min_open=True)


@click.command()
@click.option(
    "-i", "--input", "prediction", required=True, type=click.Path(path_type=Path), help="Mask to score."
)
@click.option(
    "-r", "--ref", "reference", required=True, type=click.Path(path_type=Path), help="Reference mask."
)
@click.option(
    "-o",
    "--outputBase",
    "base",
    required=True,
    help="What the names of the results begin with: <base>_global.txt.",
)
@click.option(
    "-s", "--SegmentationEvaluationMetrics", "voxels", is_flag=True, help="Voxel measures; the default."
)
@click.option("-d", "--SurfaceEvaluation", "distances", is_flag=True, help="Distances.")
@click.option(
    "-l", "--LesionDetectionMetrics", "lesions", is_flag=True, help="Lesion detection: PPVL, SensL, F1_score."
)
@click.option(
    "-a", "--advancedEvaluation", "clusters", is_flag=True, help="All of it once more for each label."
)
@click.option("-T", "--text", is_flag=True, help="Write text; the default.")
@click.option("-X", "--xml", is_flag=True, help="Write XML.")
@click.option("-S", "--screen", is_flag=True, help="Print.")
@click.option(
    "-v",
    "--MinLesionVolume",
    "minimum_mm3",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    help="Lesions are larger (mm^3).",
)
@click.option(
    "-x",
    "--MinOverlapRatio",
    "alpha",
    type=_FRACTION,
    default=0.10,
    show_default=True,
    help="A lesion must be covered by more.",
)
@click.option(
    "-y",
    "--MaxFalsePositiveRatio",
    "beta",
    type=_FRACTION,
    default=0.70,
    show_default=True,
    help="What covers it may lie outside by this.",
)
@click.option(
    "-z",
    "--MaxFalsePositiveRatioModerator",
    "gamma",
    type=_FRACTION,
    default=0.65,
    show_default=True,
    help="Share of the cover looked at.",
)
@click.option(
    "-t", "--threads", type=click.IntRange(0), help="Taken for the tool's sake; one thread is used."
)
@click.option(
    "-A",
    "--About",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_about,
    help="Explain every measure, and stop.",
)
@click.option(
    "--strict-anima",
    is_flag=True,
    help="The tool's own SurfaceDistance, and none of the checks of grid and values that it leaves out.",
)
def score(
    prediction: Path,
    reference: Path,
    base: str,
    voxels: bool,
    distances: bool,
    lesions: bool,
    clusters: bool,
    text: bool,
    xml: bool,
    screen: bool,
    minimum_mm3: float,
    alpha: float,
    beta: float,
    gamma: float,
    threads: int | None,  # noqa: ARG001
    strict_anima: bool,
) -> None:
    """Score one mask like animaSegPerfAnalyzer: its flags, its files.

    SurfaceDistance is the average symmetric surface distance; the tool's number, which depends on the order
    of the voxels, needs --strict-anima.
    """
    from ..scoring import segperf
    from ..scoring.metrics import DetectionRules

    groups = segperf.Groups.asked(voxels, distances, lesions, clusters)
    images = segperf.read_images(prediction, reference, strict_anima)
    results = segperf.measure(images, groups, DetectionRules(minimum_mm3, alpha, beta, gamma), strict_anima)
    segperf.write_files(
        results, base, text=text or not (xml or screen), xml=xml, masks=(prediction, reference)
    )
    if screen:
        click.echo("".join(segperf.as_screen(measures) for measures in results.values()), nl=False)


@click.command()
@click.option(
    "--predictions",
    "methods",
    multiple=True,
    required=True,
    metavar="[NAME=]FOLDER",
    help="A method's masks: <case>/new_lesions.nii.gz, <case>.nii.gz and the like; or the output of an "
    "earlier evaluation. Give it once a method.",
)
@click.option(
    "--references",
    type=click.Path(path_type=Path),
    help="True masks: <case>/ground_truth.nii.gz, <case>.nii.gz and the like.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the tables, the summary (.md, .csv, .json) and the figures.",
)
@click.option(
    "--missing",
    type=click.Choice(["error", "empty"]),
    default="error",
    show_default=True,
    help="What a missing prediction is.",
)
@click.option(
    "--experts",
    is_flag=True,
    help="Score each expert's mask too: <case>/ground_truth_expert1.nii.gz and so on.",
)
@click.option(
    "--keep-going",
    is_flag=True,
    help="Leave out what cannot be scored, name it, write the rest, and exit with 1.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Masks scored at once; default: as many as the CPUs this process may use.",
)
def evaluate(
    methods: tuple[str, ...],
    references: Path | None,
    output: Path,
    missing: str,
    experts: bool,
    keep_going: bool,
    threads: int | None,
) -> None:
    """Score a whole challenge: one method or many, ranked and compared, experts beside them."""
    from .. import machine
    from ..scoring import challenge, masks, pages, summary, tables

    named = masks.name_methods(methods)
    earlier = [method for method in named if tables.is_evaluation(method.folder)]
    fresh = [method for method in named if method not in earlier]
    if references is None and (fresh or experts):
        raise click.UsageError("wanted --references, since there are masks to score")
    pages.check_output(output, [method.folder for method in earlier])
    problems: list[str] = []
    jobs: list[Job] = []
    if references:
        jobs = masks.find_jobs(fresh, references, experts, missing == "empty", problems)
    scores = tables.read_evaluations(earlier, [method.name for method in fresh], problems)
    order = [*(score.rater for score in scores), *(method.name for method in fresh)]
    scored = challenge.score_all(jobs, threads or machine.available_cpus(), problems)
    with click.progressbar(scored, len(jobs), label="masks", file=sys.stderr) as bar:
        scores += bar
    if problems and not (keep_going and scores):
        raise InputError(masks.in_words(problems))
    raters = summary.group_scores(scores, order)
    pages.write_evaluation(raters, summary.expected_cases(order, jobs, scores), output)
    click.echo(f"{len(scores)} masks scored: {output / 'summary.md'}")
    if problems:
        raise InputError(f"left out, {masks.in_words(problems)}")
