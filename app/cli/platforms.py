"""The commands that platforms call: `bids` (a BIDS App) and `grand-challenge`. Words and exit codes only."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from .options import fast_option, machine_options, pairs_option, steps_options, strict_option

if TYPE_CHECKING:
    from ..method.registration import Register
    from ..patients.visits import Pairs
    from ..pipeline import Chain

LABELS = ("--participant-label", "--participant_label", "--session-label", "--session_label")
ENDING = ".mha"  # what grand-challenge hands over and takes


class _ManyLabels(click.Command):
    """Takes labels as BIDS Apps do: several after one option, up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given: list[str] = []
        option = ""
        for word in args:
            if word.startswith("-"):
                option = word if word in LABELS else ""
                given += [] if option else [word]
            else:
                given += [option, word] if option else [word]
        return super().parse_args(ctx, given)


@click.command(cls=_ManyLabels)
@click.argument("bids_dir", type=click.Path(path_type=Path))
@click.argument("output_dir", type=click.Path(path_type=Path))
@click.argument("analysis_level", type=click.Choice(["participant"]))
@click.option(
    *("--participant-label", "--participant_label", "subjects"),
    multiple=True,
    metavar="LABEL ...",
    help="These subjects alone, without sub-.",
)
@click.option(
    *("--session-label", "--session_label", "sessions"),
    multiple=True,
    metavar="LABEL ...",
    help="These sessions alone, without ses-.",
)
@pairs_option
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Pairs at a time.")
@strict_option
@steps_options
@fast_option
@machine_options
def bids(
    bids_dir: Path,
    output_dir: Path,
    analysis_level: str,  # noqa: ARG001 the only one there is
    subjects: tuple[str, ...],
    sessions: tuple[str, ...],
    pairs: "Pairs",
    jobs: int,
    strict: bool,
    preprocessing: "Chain",
    register: "Register",
    fast: bool,
    device: str,
    threads: int | None,
    weights: Path,
) -> None:
    """Compare the sessions of a BIDS data set, as a BIDS App; results are BIDS derivatives.

    Calls with --participant-label may run side by side into one folder. One without it, afterwards, skips
    what is done and writes summary.csv and index.html of all.
    """
    from ..patients import bids, cohort, following
    from ..patients.segmenter import Segmenter
    from ..patients.threads import in_threads
    from ..pipeline import Steps
    from .cohort import close, do

    cohort.check_other_folder(bids_dir, output_dir)
    if not bids_dir.is_dir():
        raise InputError(f"{bids_dir}: no such folder; wanted a BIDS data set")
    cases, problems = bids.find_cases(
        bids_dir,
        pairs,
        [label.removeprefix("sub-") for label in subjects],
        [label.removeprefix("ses-") for label in sessions],
    )
    cohort.check_output(cases, bids_dir, output_dir)
    following.check_output(cases, output_dir)
    segmenter = Segmenter.load(weights, device, threads, Steps(preprocessing, register, fast))
    alone = {case.patient for case in cases} if subjects else ()
    ended = do(cases, bids_dir, output_dir, in_threads(cases, output_dir, segmenter, jobs), problems, alone)
    close(ended, problems, cases, output_dir if subjects else output_dir / cohort.SUMMARY, strict)


@click.command("grand-challenge")
@click.option("--input", "source", default=Path("/input"), show_default=True, type=click.Path(path_type=Path))
@click.option("--output", default=Path("/output"), show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--baseline-slug",
    default="baseline-flair-brain-mri",
    show_default=True,
    help="Folder of the earlier scan below images/.",
)
@click.option(
    "--followup-slug",
    default="follow-up-flair-brain-mri",
    show_default=True,
    help="Folder of the later scan below images/.",
)
@click.option(
    "--mask-slug",
    default="new-ms-lesions",
    show_default=True,
    help="Folder of the mask below images/ of the output.",
)
@fast_option
@machine_options
def grand_challenge(
    source: Path,
    output: Path,
    baseline_slug: str,
    followup_slug: str,
    mask_slug: str,
    fast: bool,
    device: str,
    threads: int | None,
    weights: Path,
) -> None:
    """Find the new lesions of the one patient that grand-challenge hands over.

    Reads images/SLUG/*.mha of both scans below /input; writes images/SLUG/NAME.mha, named as the later scan,
    and results.json, the table of lesions, below /output.
    """
    from ..images.scan import Scan
    from ..patients.segmenter import Segmenter
    from ..pipeline import Steps
    from ..results.outputs import Outputs

    scans = _only_image(source, baseline_slug), _only_image(source, followup_slug)
    mask = output / "images" / mask_slug / scans[1].name
    outputs = Outputs(mask, lesions_json=output / "results.json")
    outputs.check()
    segmenter = Segmenter.load(weights, device, threads, Steps(fast=fast))
    result = segmenter.segment_files(Scan(scans[0]), Scan(scans[1]), outputs)
    click.echo(f"{result.in_words()}: {mask}")


def _only_image(source: Path, slug: str) -> Path:
    folder = source / "images" / slug
    found = sorted(path for path in folder.glob(f"*{ENDING}") if not path.name.startswith("."))
    if len(found) != 1:
        raise InputError(f"{folder}: {len(found)} images that end in {ENDING}; wanted one")
    return found[0]
