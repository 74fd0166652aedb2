"""The command line: words and exit codes only."""

import csv
import dataclasses
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app import __version__
from app.errors import InputError
from app.warned import warned

if TYPE_CHECKING:  # torch and SimpleITK take seconds to import: --help must not wait for them
    import SimpleITK as sitk

    from app.outputs import Outputs
    from app.pipeline import Networks, Preprocessing, Result

SUMMARY_FIELDS = ("patient", "status", "new_lesions", "volume_ml", "seconds", "problem")
PREPROCESSING_HELP = "Our own steps, Anima's programs, or none: the scans come without skull and bias field."
WEIGHTS = Path(__file__).resolve().parent.parent / "weights"

logger = logging.getLogger(__name__)


class _Commands(click.Group):
    """Turns an InputError of any command into its one line and exit code 1, and imports the scoring commands when they are named."""

    lazy = ("score", "evaluate")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.lazy:
            from app import cli_scoring

            command: click.Command = getattr(cli_scoring, cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from error


def _print_version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from app import checkpoint

    click.echo(f"ms-new-lesions {__version__}")
    for path in sorted(WEIGHTS.glob("*.pt")):
        click.echo(f"{path.name} sha256 {checkpoint.verified_sha256(path)}")
    ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print version and weights' hashes.")
@click.option("-v", "--verbose", is_flag=True, help="Say how long each step takes.")
def main(verbose: bool) -> None:
    """New multiple-sclerosis lesions between two FLAIR scans of one patient.

    Research software: not a medical device, not for diagnosis.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s: %(message)s", force=True)
    # a stopped container leaves no half-written output: the clean-up of open files and folders runs
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def _scan_options(command: Any) -> Any:
    for option in (
        click.option("--preprocessing", type=click.Choice(["native", "anima", "none"]), default="native", show_default=True, help=PREPROCESSING_HELP),
        click.option("--brain-mask", type=click.Path(path_type=Path), help="Brain mask on the later scan's grid, instead of ours."),
        click.option("-t2", "--followup", required=True, type=click.Path(path_type=Path), help="Later FLAIR."),
        click.option(
            "-t1", "--baseline", required=True, type=click.Path(path_type=Path), help="Earlier FLAIR (.nii.gz, .nii, .nrrd, .mha), any grid."
        ),
    ):
        command = option(command)
    return command


def _machine_options(command: Any) -> Any:
    for option in (
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads; default: all this process may use."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
        click.option("--weights", type=click.Path(path_type=Path), default=WEIGHTS, help="Folder of trained weights; default: those shipped."),
    ):
        command = option(command)
    return command


@main.command()
@_scan_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Mask to write: 1 where a lesion is new, on the later scan's grid."
)
@click.option("--probability", type=click.Path(path_type=Path), help="Also write the probability map.")
@click.option("--lesions", type=click.Path(path_type=Path), help="Also write a table of the lesions (.csv).")
@click.option("--report", type=click.Path(path_type=Path), help="Also write a page to look at (.html).")
@_machine_options
def segment(
    baseline: Path,
    followup: Path,
    output: Path,
    probability: Path | None,
    lesions: Path | None,
    report: Path | None,
    brain_mask: Path | None,
    preprocessing: "Preprocessing",
    device: str,
    threads: int | None,
    weights: Path,
) -> None:
    """Find the new lesions of one patient."""
    from app.outputs import Outputs

    outputs = Outputs(output, probability, lesions, report)
    outputs.check()
    result = _segment_files(baseline, followup, outputs, _load_networks(device, threads, weights), brain_mask, preprocessing)
    click.echo(f"{result.in_words()}: {output}")


@main.command()
@click.option("--input", "folder", default=Path("/input"), show_default=True, type=click.Path(path_type=Path), help="Folder with the patients.")
@click.option("--output", default=Path("/output"), show_default=True, type=click.Path(path_type=Path), help="One folder a patient, and summary.csv.")
@_machine_options
def run(folder: Path, output: Path, device: str, threads: int | None, weights: Path) -> None:
    """Find the new lesions of every patient in a folder.

    A patient is a folder with <...>time01<...> and <...>time02<...> (as in MSSEG-2) or just two images, or two files side by side so named.
    """
    from app.cases import find_cases
    from app.files import writing
    from app.outputs import Outputs

    cases, problems = find_cases(folder)
    rows: list[dict[str, Any]] = []
    failures = [str(problem) for problem in problems]
    networks = _load_networks(device, threads, weights)
    with click.progressbar(cases, label="patients", file=sys.stderr, item_show_func=lambda case: case.name if case else "") as bar:
        for case in bar:
            try:
                result = _segment_files(case.baseline, case.followup, Outputs.in_folder(output / case.name), networks)
                rows.append({"patient": case.name, "status": "done", "new_lesions": len(result.lesions), "volume_ml": f"{result.volume_ml:.3f}"})
                rows[-1]["seconds"] = f"{sum(result.seconds.values()):.1f}"
            except InputError as error:
                failures.append(str(error))
                rows.append({"patient": case.name, "status": "failed", "problem": str(error)})
    with writing(output / "summary.csv") as unfinished, unfinished.open("w", newline="") as file:
        table = csv.DictWriter(file, SUMMARY_FIELDS)
        table.writeheader()
        table.writerows(rows)
    click.echo(f"{sum(row['status'] == 'done' for row in rows)} of {len(rows)} patients done: {output / 'summary.csv'}")
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    if failures:
        sys.exit(1)


@main.command()
@_scan_options
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for scans, brain mask, transforms, picture.")
@_machine_options
def prepare(
    baseline: Path,
    followup: Path,
    output: Path,
    brain_mask: Path | None,
    preprocessing: "Preprocessing",
    device: str,
    threads: int | None,
    weights: Path,
) -> None:
    """Write what the network would see, and a picture to judge it by."""
    from app import image, pipeline
    from app.outputs import write_prepared

    networks = _load_networks(device, threads, weights)
    scans = _read_scans(baseline, followup)
    mask = image.read_mask(brain_mask, grid_of=scans[1]) if brain_mask else None
    aligned, pair = pipeline.prepare(*scans, networks, mask, preprocessing)
    write_prepared(pair, aligned, output)
    click.echo(f"Prepared in {output}: look at {output / 'picture.png'}")


@main.command()
@click.option("--output", default=Path("demo"), show_default=True, type=click.Path(path_type=Path), help="Folder for scans and results.")
@_machine_options
def demo(output: Path, device: str, threads: int | None, weights: Path) -> None:
    """Make two FLAIR scans of a made-up head with known new lesions, and find them."""
    from app import image, lesions, phantom
    from app.outputs import Outputs

    outputs = Outputs.in_folder(output)
    outputs.check()
    networks = _load_networks(device, threads, weights)
    click.echo("Drawing a made-up patient: baseline in 3-mm slices, noisy and turned; follow-up in 1-mm voxels.")
    patient = phantom.make_patient()
    baseline, followup = output / "baseline.nii.gz", output / "followup.nii.gz"
    image.write(patient.baseline, baseline)
    image.write(patient.followup, followup)
    image.write(patient.new_lesions, output / "true_new_lesions.nii.gz")
    result = _segment_files(baseline, followup, outputs, networks)

    truth = image.array(patient.new_lesions) > 0
    for title, found in (("True", lesions.describe(truth, image.array(result.probability), patient.followup)), ("Found", result.lesions)):
        click.echo(f"{title} new lesions (centre: right, anterior, superior):")
        for lesion in found:
            centre = ", ".join(f"{side:.0f}" for side in lesion.centre_ras_mm)
            click.echo(f"  {lesion.number}: {lesion.volume_mm3:.0f} mm3 at ({centre}) mm, mean probability {lesion.mean_probability:.2f}")
    click.echo(f"{result.in_words()}; look at {outputs.report}, masks and tables beside it in {output}")


def _load_networks(device: str, threads: int | None, weights: Path) -> "Networks":
    from app import machine
    from app.pipeline import Networks

    machine.use_threads(threads)
    return Networks.load(weights, machine.choose_device(device))


def _segment_files(
    baseline: Path,
    followup: Path,
    outputs: "Outputs",
    networks: "Networks",
    brain_mask: Path | None = None,
    preprocessing: "Preprocessing" = "native",
) -> "Result":
    """Files to files: read, segment, write."""
    from app import image, pipeline

    with warned({str(baseline): "baseline", str(followup): "follow-up"}) as warnings:
        scans = _read_scans(baseline, followup)
        mask = image.read_mask(brain_mask, grid_of=scans[1]) if brain_mask else None
        result = pipeline.segment(*scans, networks, mask, preprocessing)
    result = dataclasses.replace(result, warnings=tuple(warnings))  # those of reading, too
    outputs.write(result, followup)
    return result


def _read_scans(baseline: Path, followup: Path) -> tuple["sitk.Image", "sitk.Image"]:
    from app import image

    scans = image.read(baseline), image.read(followup)
    if baseline.samefile(followup):
        logger.warning("%s: given as baseline and as follow-up; nothing can be new", followup)
    return scans
