"""The command line: words and exit codes only."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..errors import InputError, refused_by_system
from ..files import check_apart, check_free, writing_set
from . import speech
from .options import WEIGHTS, fast_option, machine_options, scan_options, strict_option
from .speech import speech_options

if TYPE_CHECKING:  # torch and SimpleITK take seconds to import: --help must not wait for them
    from ..images.scan import Scan
    from ..method.registration import Register
    from ..pipeline import Chain


class _Commands(click.Group):
    """Turns an InputError into its one line and exit code 1, and imports the commands of other files when
    they are named.
    """

    lazy = ("run", "follow", "bids", "grand-challenge", "score", "evaluate")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.lazy:
            from . import cohort, follow, platforms, scoring

            command: click.Command = {
                "run": cohort.run,
                "follow": follow.follow,
                "bids": platforms.bids,
                "grand-challenge": platforms.grand_challenge,
                "score": scoring.score,
                "evaluate": scoring.evaluate,
            }[cmd_name]
            return command
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _in_one_line():  # --log and --version ask for files
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if error.filename is None:  # none of the user's files: click knows what a closed pipe is
            raise
        raise click.ClickException(str(refused_by_system(error))) from error


def _print_version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from ..method import checkpoint

    click.echo(f"ms-new-lesions {__version__}")
    for path in sorted(WEIGHTS.glob("*.pt")):
        click.echo(f"{path.name} sha256 {checkpoint.verified_sha256(path)}")
    ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print version and weights' hashes.",
)
@speech_options
@click.pass_context
def main(ctx: click.Context) -> None:
    """New multiple-sclerosis lesions between two FLAIR scans of one patient.

    Research software: not a medical device, not for diagnosis.
    """
    speech.start(ctx)
    # a stopped container leaves no half-written output: the clean-up of open files and folders runs
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


@main.command()
@scan_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help=(
        "Mask to write: 1 where a lesion is new, on the later scan's grid. A DICOM Segmentation if "
        "it ends in .dcm."
    ),
)
@click.option("--probability", type=click.Path(path_type=Path), help="Also write the probability map.")
@click.option(
    "--lesions", type=click.Path(path_type=Path), help="Also write a table of the lesions (.csv or .json)."
)
@click.option(
    "--changes",
    type=click.Path(path_type=Path),
    help="Also write what became of every lesion: 1 new, 2 enlarged, 3 unchanged, 4 shrunken, 5 vanished.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Also write a page to look at (.html).")
@click.option(
    "--text", type=click.Path(path_type=Path), help="Also write a text to paste into a report (.txt)."
)
@click.option("--pdf", type=click.Path(path_type=Path), help="Also write text and pictures on paper (.pdf).")
@click.option(
    "--sr",
    type=click.Path(path_type=Path),
    help="Also write a DICOM structured report of a DICOM follow-up (.dcm).",
)
@click.option(
    "--key-image",
    type=click.Path(path_type=Path),
    help="Also write pictures of the lesions of a DICOM follow-up (.dcm), for any archive's viewer.",
)
@click.option(
    "--text-template", type=click.Path(path_type=Path), help="Jinja template of that text, instead of ours."
)
@click.option("--label", default="", help="What page and text shall call the patient; default: nothing.")
@click.option(
    "--visits",
    nargs=2,
    default=("", ""),
    metavar="BASELINE FOLLOWUP",
    help="What page and text shall call the visits, such as their dates; default: nothing.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    help="Also write what was done: versions, settings, hashes, seconds (.json).",
)
@click.option(
    "--baseline-lesions",
    type=click.Path(path_type=Path),
    help="Mask of the lesions at baseline, on its grid, if they are drawn: what lies in them is old.",
)
@fast_option
@strict_option
@machine_options
@click.pass_context
def segment(
    ctx: click.Context,
    /,
    baseline: Path,
    followup: Path,
    output: Path,
    text_template: Path | None,
    label: str,
    visits: tuple[str, str],
    baseline_lesions: Path | None,
    fast: bool,
    strict: bool,
    baseline_series: str | None,
    followup_series: str | None,
    brain_mask: Path | None,
    preprocessing: "Chain",
    register: "Register",
    device: str,
    threads: int | None,
    weights: Path,
    **others: Path | None,  # what else is to be written: as Outputs calls it
) -> None:
    """Find the new lesions of one patient."""
    from ..patients.segmenter import Segmenter
    from ..pipeline import Steps
    from ..results import words
    from ..results.outputs import Outputs
    from ..results.text import TEMPLATE, Heading

    outputs = Outputs.named(output, **others)
    outputs.check()
    heading = Heading(label, *visits, text_template or TEMPLATE)
    heading.check()
    scans = _find(baseline, baseline_series), _find(followup, followup_series)
    check_apart(
        outputs.wanted().values(), _inputs(*scans, weights, brain_mask, baseline_lesions, text_template)
    )
    segmenter = Segmenter.load(weights, device, threads, Steps(preprocessing, register, fast))
    with speech.steps_shown(ctx, preprocessing, fast):
        result = segmenter.segment_files(*scans, outputs, brain_mask, baseline_lesions, heading)
    click.echo(f"{result.in_words()}: {output}")
    for sentence in words.summary(result):
        click.echo(sentence)
    if strict and result.warnings:
        sys.exit(1)


@main.command()
@scan_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for scans, brain mask, transforms, picture.",
)
@machine_options
def prepare(
    baseline: Path,
    followup: Path,
    output: Path,
    baseline_series: str | None,
    followup_series: str | None,
    brain_mask: Path | None,
    preprocessing: "Chain",
    register: "Register",
    device: str,
    threads: int | None,
    weights: Path,
) -> None:
    """Write what the network would see, and a picture to judge it by."""
    from .. import pipeline
    from ..images import storage
    from ..patients.segmenter import Segmenter, read_scans
    from ..results.outputs import PREPARED, write_prepared

    sources = _find(baseline, baseline_series), _find(followup, followup_series)
    written = [output / name for name in PREPARED]
    check_apart(written, _inputs(*sources, weights, brain_mask))
    check_free(written, ours=all(path.is_file() for path in written))
    networks = Segmenter.load(weights, device, threads).networks
    scans = read_scans(*sources)
    mask = storage.read_brain(brain_mask, scans[1]) if brain_mask else None
    aligned, pair = pipeline.prepare(
        *scans,
        networks.brain,
        networks.predictor.config.preprocess,
        mask,
        pipeline.Steps(preprocessing, register),
    )
    write_prepared(pair, aligned, output)
    click.echo(f"Prepared in {output}: look at {output / 'picture.png'}")


@main.command()
@click.option(
    "--output",
    default=Path("demo"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for scans and results.",
)
@machine_options
def demo(output: Path, device: str, threads: int | None, weights: Path) -> None:
    """Make two FLAIR scans of a made-up head with known new lesions, and find them."""
    from .. import phantom
    from ..images import grids, storage
    from ..images.scan import Scan
    from ..method import lesions
    from ..patients.segmenter import Segmenter
    from ..results import record
    from ..results.outputs import Outputs

    outputs = Outputs.in_folder(output)
    outputs.check()
    drawn = [output / name for name in ("baseline.nii.gz", "followup.nii.gz", "true_new_lesions.nii.gz")]
    ours = record.is_record(output / "run.json") and all(path.is_file() for path in drawn)
    check_free([*drawn, *outputs.wanted().values()], ours)
    segmenter = Segmenter.load(weights, device, threads)
    click.echo(
        "Drawing a made-up patient: baseline in 3-mm slices, noisy and turned; follow-up in 1-mm voxels."
    )
    patient = phantom.make_phantom()
    with writing_set({path.name: path for path in drawn}) as unfinished:
        images = patient.baseline, patient.followup, patient.new_lesions
        for image, path in zip(images, unfinished.values(), strict=True):
            storage.write(image, path)
        baseline, followup, _ = map(Scan, unfinished.values())
        result = segmenter.segment_files(baseline, followup, outputs)

    truth = grids.array(patient.new_lesions) > 0
    for title, found in (
        ("True", lesions.describe(truth, grids.array(result.probability), patient.followup)),
        ("Found", result.lesions),
    ):
        click.echo(f"{title} new lesions (centre: right, anterior, superior):")
        for lesion in found:
            centre = ", ".join(f"{side:.0f}" for side in lesion.centre_ras_mm)
            click.echo(
                f"  {lesion.number}: {lesion.volume_mm3:.0f} mm3 at ({centre}) mm, mean probability "
                f"{lesion.mean_probability:.2f}"
            )
    click.echo(f"{result.in_words()}; look at {outputs.report}, masks and tables beside it in {output}")


def _find(path: Path, series: str | None) -> "Scan":
    """The scan at a path; of a DICOM folder, it says which series that is."""
    from ..images.scan import Scan

    scan = Scan.find(path, series)
    if scan.series is not None:
        click.echo(f"{path}: {scan.series}", err=True)
    return scan


def _inputs(baseline: "Scan", followup: "Scan", weights: Path, *more: Path | None) -> list[Path]:
    """Every file that a command reads."""
    others = [path for path in more if path is not None]
    return [*baseline.files, *followup.files, *weights.glob("*.pt"), *others]
