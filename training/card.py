"""The model card of a weights folder, from what the checkpoints carry and what validation printed."""

import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.config import Config
from app.files import writing
from app.method import checkpoint
from app.method.checkpoint import Checkpoint
from training import operating_points

LIMITS = """## Intended use and limits
Research only: not a medical device, not for diagnosis or treatment. Two FLAIR scans of one adult,
as README.md says; a reader must check what is marked and what is not. Where the operating point or
the checkpoint was chosen on the cases below, expect less on others. The open pairs are of four
patients. Where each patient is judged by the networks that did not see him, the mean of all, which
is what users get, is not judged. Lesions smaller than the minimum volume are dropped. Scanners,
protocols and diseases that the data do not contain were not tried.
"""


def brain_lines(path: Path) -> list[str]:
    """The section on the brain extraction, where its weights lie beside the lesion networks."""
    if not path.is_file():
        return []
    loaded = checkpoint.load(path)
    p = loaded.provenance
    said = (
        f"SHA-256 {loaded.sha256}; {p['date']}, commit {p['commit'][:8]}; data: {p['data']}. The brain masks "
        "of HD-BET that it learnt from cannot be fetched, so this file cannot be made again bit for bit. "
        "`training/train.sh --brain` trains the same network from open data alone: label maps, and scans "
        "with their data set's own masks. How good it is: `python -m benchmarks.brain` "
        "(benchmarks/RESULTS.md). Made by"
    )
    return [f"## Brain extraction, `{path.name}`", _wrapped(said), "```", p["command"], "```", ""]


def _wrapped(prose: str) -> str:
    return textwrap.fill(prose, 100, break_long_words=False, break_on_hyphens=False)


def data_of(networks: Mapping[str, Checkpoint]) -> str:
    """What {name: network} were trained on, in one sentence."""
    data = {name: one.provenance["data"] for name, one in networks.items()}
    if len(set(data.values())) == 1:
        return str(next(iter(data.values())))
    return "; ".join(f"{name}: {own}" for name, own in data.items())


def input_of(config: Config) -> str:
    """What the network sees, in words."""
    same = ", equally sharp (`app.method.sharpness`)" if config.preprocess.match_sharpness else ""
    return (
        f"both scans through `app.method.preprocessing` at {config.preprocess.spacing_mm} mm{same}; "
        f"windows of {config.windows.side}^3 voxels"
    )


def write(weights: Path, validation: Sequence[str]) -> None:
    """Write `MODEL_CARD.md` beside the weights; `validation` are the lines that training.validate printed for
    them.
    """
    paths = checkpoint.lesion_networks(weights)
    folds = [checkpoint.load(path) for path in paths]
    first = folds[0]
    parameters = sum(values.numel() for values in first.network.parameters())
    network, point = first.config.network, first.config.point
    maps = (
        "; also of a vanished lesion, and of a lesion at either visit"
        if first.config.outputs == "maps"
        else ""
    )
    lines = [
        "# Lesion network",
        "",
        "| | |",
        "|---|---|",
        "| Task | probability that a voxel belongs to a lesion that the follow-up FLAIR shows and "
        f"the baseline does not{maps} |",
        f"| Network | `app.method.model.UNet3D`, {network.features} base features, {parameters:,} "
        f"parameters; {len(folds)} of them, averaged |",
        f"| Input | {input_of(first.config)} |",
        f"| Operating point | {operating_points.in_words(point)} (`app.config.OperatingPoint`) |",
        f"| Data | {data_of({path.name: fold for path, fold in zip(paths, folds, strict=True)})} |",
        "| Card | written by `python -m training.validate --card`, "
        f"{time.strftime('%Y-%m-%d', time.gmtime())} |",
        "",
        "| file | SHA-256 | date, commit | step | IQDA, loss | command |",
        "|---|---|---|---|---|---|",
    ]
    for path, fold in zip(paths, folds, strict=True):
        p = fold.provenance
        lines.append(
            f"| `{path.name}` | {fold.sha256} | {p['date']}, {p['commit'][:8]} | {p['step']} | "
            f"{p['iqda']}, {p['loss']} | `{p['command']}` |"
        )
    lines += [
        "",
        "## Validation",
        _wrapped(
            "On the network's grid, of patients that it was not trained on; what the rows mean is in "
            "training/README.md."
        ),
        "",
        "```",
        *validation,
        "```",
        "",
        LIMITS,
        *brain_lines(weights / checkpoint.BRAIN_NETWORK),
    ]
    with writing(weights / "MODEL_CARD.md") as path:
        path.write_text("\n".join(lines))
