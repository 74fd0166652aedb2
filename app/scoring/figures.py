"""What does an evaluation look like? Its figures, drawn with matplotlib, which is optional."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VOLUME_EDGES_MM3 = (3, 10, 30, 100, 300, 1000, 3000, 1e6)
VOLUME_NAMES = ("3-10", "10-30", "30-100", "100-300", "300-1000", "1000-3000", "> 3000")
FOUND, MISSED = "tab:blue", "tab:red"

logger = logging.getLogger(__name__)


def available() -> bool:
    """Whether figures can be drawn; a warning says what to install if not."""
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning("no figure: matplotlib is missing; install it with `pip install matplotlib`")
        return False
    return True


def draw_summary(
    path: Path,
    f1: Sequence[float],
    dice: Sequence[float],
    found_mm3: Sequence[float],
    missed_mm3: Sequence[float],
    false_mm3: Sequence[float],
) -> None:
    """Three panels as PNG: F1 against Dice of each case, false lesions by size, detection by lesion size. Volumes are those of single lesions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    cases, false, detection = figure.subplots(1, 3)
    cases.scatter(dice, f1, color=FOUND, alpha=0.6)
    _unit_square(cases, "Dice", "lesion F1", f"{len(f1)} cases with new lesions")

    counts = _by_volume(false_mm3)
    false.bar(VOLUME_NAMES, counts, color=MISSED)
    false.set(xlabel="volume (mm$^3$)", ylabel="false lesions", title=f"{len(false_mm3)} false lesions")

    found, missed = _by_volume(found_mm3), _by_volume(missed_mm3)
    totals = found + missed
    detection.bar(VOLUME_NAMES, found / np.maximum(totals, 1), color=FOUND)
    for place, (part, total) in enumerate(zip(found, totals, strict=True)):
        detection.text(place, part / max(total, 1) + 0.02, f"{part}/{total}", ha="center", fontsize="small")
    detection.set(
        xlabel="volume (mm$^3$)",
        ylabel="part detected",
        ylim=(0, 1.1),
        title=f"{len(found_mm3) + len(missed_mm3)} new lesions",
    )
    for axes in (false, detection):
        axes.tick_params(axis="x", rotation=45)
    _save(figure, path)


def draw_comparison(
    path: Path,
    names: tuple[str, str],
    f1: tuple[Sequence[float], Sequence[float]],
    dice: tuple[Sequence[float], Sequence[float]],
) -> None:
    """Two panels as PNG: F1 and Dice of each case, the first method across, the second up."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for axes, measure, (first, second) in zip(
        figure.subplots(1, 2), ("lesion F1", "Dice"), (f1, dice), strict=True
    ):
        axes.scatter(first, second, color=FOUND, alpha=0.6)
        _unit_square(axes, names[0], names[1], measure)
    _save(figure, path)


def _unit_square(axes: "Axes", across: str, up: str, title: str) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=across, ylabel=up, title=title, aspect="equal")


def _by_volume(volumes_mm3: Sequence[float]) -> np.typing.NDArray[np.int64]:
    return np.histogram(np.clip(volumes_mm3, VOLUME_EDGES_MM3[0], VOLUME_EDGES_MM3[-1]), VOLUME_EDGES_MM3)[0]


def _save(figure: "Figure", path: Path) -> None:
    with writing(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=120)
