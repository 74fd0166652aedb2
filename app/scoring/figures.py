"""What does an evaluation look like? Its figures, drawn with matplotlib, which is optional.

Names of raters may be long, and there may be many: they are wrapped, and figures grow with their number, so
that nothing is cut.
"""

import importlib.util
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import writing
from .masks import ALL_EXPERTS
from .summary import Raters, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

NAMES = ("measures", "sizes", "patients", "ranking", "comparisons", "calibration")
NAME_WIDTH = 24  # characters, before a name goes on in the next line
LARGEST_SIDE = 2**15  # pixels; matplotlib draws no more than twice that
LINE_INCHES = 0.19  # height of a line of a label
LINE_STYLES = ("-", "--", "-.", ":")
COLORS = 10  # of matplotlib's cycle; the next ten raters get the next line style

logger = logging.getLogger(__name__)


def available() -> bool:
    """Whether figures can be drawn; a warning says what to install if not."""
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning("no figures: matplotlib is missing; install it with `pip install matplotlib`")
        return False
    return True


def write_all(raters: Raters, summary: Summary, output: Path) -> None:
    """Write the figures of `draw_all` as PNG."""
    for name, figure in draw_all(raters, summary).items():
        dots_per_inch = min(120, LARGEST_SIDE / figure.get_size_inches().max())
        with writing(output / f"{name}.png") as unfinished:
            figure.savefig(unfinished, format="png", dpi=dots_per_inch)


def draw_all(raters: Raters, summary: Summary) -> dict[str, "Figure"]:
    """{name: figure}; ROC curves, ranking, comparisons and calibration only where there are any."""
    shown = {rater: part for rater, part in summary["raters"].items() if rater != ALL_EXPERTS}
    drawn = {
        "measures": draw_measures(raters),
        "sizes": draw_sizes(shown),
    }
    if any(part["patients"]["by_volume"]["roc"] for part in shown.values()):
        drawn["patients"] = draw_patients(shown)
    if summary["ranking"] and summary["ranking"]["measures"]:
        drawn["ranking"] = draw_ranking(summary["ranking"])
    if summary["comparisons"]:
        drawn["comparisons"] = draw_comparisons(summary["comparisons"])
    calibrated = {rater: part["calibration"] for rater, part in shown.items() if part["calibration"]}
    if calibrated:
        drawn["calibration"] = draw_calibration(calibrated)
    return drawn


def draw_measures(raters: Raters) -> "Figure":
    """F1 and Dice of every case with new lesions, false lesions of every case without; a row a rater."""
    names = [_wrapped(name) for name in raters]
    figure = _figure(11, 1.5 + _height(names))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (measure, title, new_lesions) in zip(
        panels,
        (("f1", "lesion F1", True), ("dice", "Dice", True), ("false_lesions", "false lesions", False)),
        strict=True,
    ):
        largest = 1.0
        rng = np.random.default_rng(0)  # points are moved up and down a little, so that equal ones are seen
        for row, own in enumerate(raters.values()):
            values = [getattr(s.metrics, measure) for s in own if s.new_lesions == new_lesions]
            largest = max([largest, *values])
            axes.scatter(
                values, row + rng.uniform(-0.25, 0.25, len(values)), s=14, alpha=0.5, color=f"C{row % COLORS}"
            )
            if values:
                axes.plot([np.mean(values)] * 2, [row - 0.38, row + 0.38], color="black", linewidth=2)
        group = "with" if new_lesions else "without"
        axes.set_title(f"{title[0].upper()}{title[1:]} of cases {group}\nnew lesions; line: mean")
        axes.set_xlabel(title)
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlim(-0.03 * largest, 1.03 * largest)
        if not new_lesions:
            _count_in_whole_numbers(axes.xaxis)
    panels[0].set_yticks(range(len(raters)), names)
    panels[0].set_ylim(len(raters) - 0.5, -0.5)
    return figure


def draw_sizes(raters: Summary) -> "Figure":
    """Part of the true lesions that was found, and number of false ones, by volume; a line a rater."""
    figure, (found, false) = _figure_with_legend(2, raters)
    sizes = next(iter(raters.values()))["sizes"]
    ticks = range(len(sizes))
    names = [
        f"{size['from_mm3']}–{size['to_mm3']}" if size["to_mm3"] else f"> {size['from_mm3']}"
        for size in sizes
    ]
    for number, part in enumerate(raters.values()):
        style = _style(number)
        rates = [size["detected"] for size in part["sizes"]]
        shift = (number - (len(raters) - 1) / 2) * 0.6 / max(len(raters), 1)  # intervals beside each other
        places = [place + shift for place in ticks]
        low, high = ([abs(rate["value"] - rate["value_95"][side]) for rate in rates] for side in (0, 1))
        found.errorbar(
            places,
            [rate["value"] for rate in rates],
            (low, high),
            marker="o",
            elinewidth=0.8,
            **style,
        )
        false.plot(ticks, [size["false_lesions"] for size in part["sizes"]], marker="o", **style)
    found.set(ylim=(-0.05, 1.05), ylabel="part of the true lesions detected")
    found.set_title("Detection by size, with 95 % intervals")
    false.set(ylabel="false lesions in all cases")
    false.set_title("False lesions by size")
    _count_in_whole_numbers(false.yaxis)
    for axes in (found, false):
        axes.set_xticks(ticks, names, rotation=45)
        axes.set_xlabel("volume of the lesion, mm³")
        axes.grid(alpha=0.3)
    return figure


def draw_ranking(ranking: Summary) -> "Figure":
    """How often each method has each rank when cases are drawn anew: the larger the blob, the more often."""
    methods, measures = ranking["methods"], ranking["measures"]
    order = np.argsort(measures["overall"]["rank"], kind="stable")
    names = [_wrapped(methods[place]) for place in order]
    width = min(4.0, max(1.8, 0.45 * len(methods)))  # of a panel
    figure = _figure(3 + len(measures) * width, 2 + max(1.2, _height(names)))
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, (name, part) in zip(panels, measures.items(), strict=True):
        for row, method in enumerate(order):
            frequency = np.array(part["frequency"][method])
            places = np.flatnonzero(frequency)
            axes.scatter(places + 1, [row] * len(places), s=frequency[places] * 300, color="C0", alpha=0.6)
            axes.plot(part["rank"][method], row, "x", color="black")
        tau = "–" if np.isnan(part["kendall_tau"]) else f"{part['kendall_tau']:.2f}"  # nan: all are equal
        axes.set_title(f"{_title(name)}\ntau {tau}", fontsize="medium")
        axes.set(xlim=(0.3, len(methods) + 0.7), ylim=(len(methods) - 0.4, -0.6), xlabel="rank")
        _count_in_whole_numbers(axes.xaxis)
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(len(methods)), names)
    figure.suptitle("Ranks when cases are drawn anew; cross: rank in all cases; tau: agreement of the two")
    return figure


def draw_comparisons(comparisons: Sequence[Summary]) -> "Figure":
    """Mean paired difference of F1 and Dice with its 95 % interval; a row for every comparison."""
    rows = [
        f"{_wrapped(comparison['second'])}\nless {_wrapped(comparison['first'])}"
        for comparison in comparisons
    ]
    figure = _figure(11, 1.5 + _height(rows))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, measure in zip(panels, ("f1", "dice"), strict=True):
        for row, comparison in enumerate(comparisons):
            part = comparison["with_new_lesions"][measure]
            low, high = part["difference_mean_95"]
            significant = part["wilcoxon_p_holm"] < 0.05
            axes.plot([low, high], [row, row], color="C3" if significant else "C0")
            axes.plot(part["difference_mean"], row, "o", color="C3" if significant else "C0")
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_title(f"Difference of {_title(measure)}\nred: p < 0.05, corrected")
        axes.set_xlabel("mean difference, 95 % interval")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(comparisons)), rows, fontsize="small")
    panels[0].set_ylim(len(comparisons) - 0.5, -0.5)
    return figure


def draw_patients(raters: Summary) -> "Figure":
    """ROC curves: has a patient any new lesion? By predicted volume, and by peak probability."""
    names = ["by_volume"]
    if any(part["patients"]["by_probability"] for part in raters.values()):
        names.append("by_probability")
    titles = {"by_volume": "predicted volume", "by_probability": "peak probability"}
    figure, panels = _figure_with_legend(len(names), raters)
    for axes, name in zip(panels, names, strict=True):
        for number, part in enumerate(raters.values()):
            curve = part["patients"][name]
            if curve and curve["roc"]:
                _, sensitivity, specificity = np.array(curve["roc"]).T
                axes.plot(1 - specificity, sensitivity, **_style(number))
                spared, found = (part["patients"][rate]["value"] for rate in ("specificity", "sensitivity"))
                axes.plot(1 - spared, found, "o", color=_style(number)["color"])
        _unit_square(
            axes,
            "1 - specificity",
            "sensitivity",
            f"Any new lesion, by {titles[name]}\ndot: any lesion predicted",
        )
    return figure


def draw_calibration(raters: Summary) -> "Figure":
    """Part of the voxels and of the predicted lesions that is true, against their mean probability."""
    figure, panels = _figure_with_legend(2, raters)
    kinds = (("voxels", "Voxels in a true lesion"), ("lesions", "Predicted lesions that are true"))
    for axes, (kind, title) in zip(panels, kinds, strict=True):
        for number, part in enumerate(raters.values()):
            bins = [own for own in part[kind] if own["true"]["whole"]]
            probability = [own["mean_probability"] for own in bins]
            true = [own["true"]["value"] for own in bins]
            axes.plot(probability, true, marker="o", **_style(number))
            if kind == "lesions":  # voxels depend on their neighbours: an interval would be far too small
                for at, own in zip(probability, bins, strict=True):
                    axes.plot([at, at], own["true"]["value_95"], linewidth=0.8, color=_style(number)["color"])
        _unit_square(axes, "mean probability", "part that is true", title)
    return figure


def _title(measure: str) -> str:
    return {"f1": "lesion F1", "dice": "Dice", "false_volume_mm3": "false volume"}.get(
        measure, measure.replace("_", " ")
    )


def _style(number: int) -> dict[str, Any]:
    """Colour and line of a rater; forty differ."""
    return {"color": f"C{number % COLORS}", "linestyle": LINE_STYLES[number // COLORS % len(LINE_STYLES)]}


def _wrapped(name: str) -> str:
    """A long name in several lines, broken behind a space, a dash, a dot or an underline."""
    lines = [""]
    for piece in re.findall(r"[^\s_.-]*[\s_.-]*", name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > NAME_WIDTH:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def _height(names: Iterable[str]) -> float:
    """Room for a column of names, inches: as many lines for each as the longest has."""
    listed = list(names)
    return len(listed) * max(0.45, LINE_INCHES * (1.5 + max(name.count("\n") for name in listed)))


def _figure(width: float, height: float) -> "Figure":
    """An empty figure; inches. Its layout makes room for all labels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _figure_with_legend(panels: int, raters: Iterable[str]) -> tuple["Figure", list["Axes"]]:
    """Square panels beside each other, and below them one legend of all raters: three a row."""
    from matplotlib.lines import Line2D

    names = [_wrapped(rater) for rater in raters]
    lines = len(names[::3]) * (1 + max(name.count("\n") for name in names))
    below = 0.4 + LINE_INCHES * lines
    figure = _figure(5.5 * panels, 5 + below)
    grid = figure.add_gridspec(2, panels, height_ratios=(5, below))
    legend = figure.add_subplot(grid[1, :])
    legend.axis("off")
    handles = [Line2D([], [], label=name, **_style(number)) for number, name in enumerate(names)]
    legend.legend(handles=handles, loc="upper center", ncols=3, fontsize="small")
    return figure, [figure.add_subplot(grid[0, panel]) for panel in range(panels)]


def _count_in_whole_numbers(axis: "Axis") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _unit_square(axes: "Axes", across: str, up: str, title: str) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=across, ylabel=up, aspect="equal")
    axes.set_title(title, fontsize="medium")
