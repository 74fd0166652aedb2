"""The commands `score` and `evaluate`: words and exit codes only."""

from pathlib import Path

import click


def _print_about(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from app import scoring

    click.echo("\n\n".join(scoring.about()))
    ctx.exit()


_FRACTION = click.FloatRange(0, 1, min_open=True)


@click.command()
@click.option("-i", "--input", "prediction", required=True, type=click.Path(path_type=Path), help="Mask to score.")
@click.option("-r", "--ref", "reference", required=True, type=click.Path(path_type=Path), help="Reference mask.")
@click.option("-o", "--outputBase", "base", required=True, help="What the names of the results begin with: <base>_global.txt.")
@click.option("-s", "--SegmentationEvaluationMetrics", "voxels", is_flag=True, help="Voxel measures; the default.")
@click.option("-d", "--SurfaceEvaluation", "distances", is_flag=True, help="Distances.")
@click.option("-l", "--LesionDetectionMetrics", "lesions", is_flag=True, help="Lesion detection: PPVL, SensL, F1_score.")
@click.option("-a", "--advancedEvaluation", "clusters", is_flag=True, help="All of it once more for each label.")
@click.option("-T", "--text", is_flag=True, help="Write text; the default.")
@click.option("-X", "--xml", is_flag=True, help="Write XML.")
@click.option("-S", "--screen", is_flag=True, help="Print.")
@click.option("-v", "--MinLesionVolume", "minimum_mm3", type=click.FloatRange(0), default=3.0, show_default=True, help="Lesions are larger (mm^3).")
@click.option("-x", "--MinOverlapRatio", "alpha", type=_FRACTION, default=0.10, show_default=True, help="A lesion must be covered by more.")
@click.option(
    "-y", "--MaxFalsePositiveRatio", "beta", type=_FRACTION, default=0.70, show_default=True, help="What covers it may lie outside by this."
)
@click.option(
    "-z", "--MaxFalsePositiveRatioModerator", "gamma", type=_FRACTION, default=0.65, show_default=True, help="Share of the cover looked at."
)
@click.option("-t", "--threads", type=click.IntRange(0), help="Taken for the tool's sake; one thread is used.")
@click.option("-A", "--About", is_flag=True, is_eager=True, expose_value=False, callback=_print_about, help="Explain every measure, and stop.")
@click.option("--strict-anima", is_flag=True, help="The tool's own SurfaceDistance, and none of the checks of grid and values that it leaves out.")
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

    SurfaceDistance is the average symmetric surface distance; the tool's number, which depends on the order of the voxels, needs --strict-anima.
    """
    from app import scoring
    from app.metrics import DetectionRules

    groups = scoring.Groups.asked(voxels, distances, lesions, clusters)
    pair = scoring.read_pair(prediction, reference, strict_anima)
    results = scoring.measure(pair, groups, DetectionRules(minimum_mm3, alpha, beta, gamma), strict_anima)
    scoring.write(results, base, text=text or not (xml or screen), xml=xml)
    if screen:
        click.echo("".join(scoring.as_screen(measures) for measures in results.values()), nl=False)
