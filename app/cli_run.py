"""The command `run`: words and exit codes only."""

import csv
import sys
from pathlib import Path
from typing import Any

import click

from app.cli_options import machine_options
from app.errors import InputError

SUMMARY_FIELDS = ("patient", "status", "new_lesions", "volume_ml", "seconds", "problem")


@click.command()
@click.option("--input", "folder", default=Path("/input"), show_default=True, type=click.Path(path_type=Path), help="Folder with the patients.")
@click.option("--output", default=Path("/output"), show_default=True, type=click.Path(path_type=Path), help="One folder a patient, and summary.csv.")
@machine_options
def run(folder: Path, output: Path, device: str, threads: int | None, weights: Path) -> None:
    """Find the new lesions of every patient in a folder.

    A patient is a folder with <...>time01<...> and <...>time02<...> (as in MSSEG-2) or just two images, or two files side by side so named.
    """
    from app.cases import find_cases
    from app.files import writing
    from app.outputs import Outputs
    from app.patient import Segmenter

    cases, problems = find_cases(folder)
    rows: list[dict[str, Any]] = []
    failures = [str(problem) for problem in problems]
    segmenter = Segmenter.load(weights, device, threads)
    with click.progressbar(cases, label="patients", file=sys.stderr, item_show_func=lambda case: case.name if case else "") as bar:
        for case in bar:
            try:
                result = segmenter.segment(case.baseline, case.followup, Outputs.in_folder(output / case.name))
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
