"""What is written about a challenge? Tables, one summary as JSON, CSV and Markdown, and figures.

Every number of the page stands in summary.csv, one a row, and in summary.json.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files import aside, check_apart, check_free, write_bytes, writing_set
from . import figures, tables
from .statistics import RESAMPLES, SEED
from .summary import GROUPS, OFFICIAL, Raters, Summary, summarise
from .tables import Cells

TITLES = {
    "f1": "lesion F1",
    "dice": "Dice",
    "sensl": "SensL",
    "ppvl": "PPVL",
    "false_lesions": "false lesions",
    "false_volume_mm3": "false volume, mm³",
    "overall": "overall",
}
GROUP_TITLES = {
    "with_new_lesions": "Cases with new lesions",
    "without_new_lesions": "Cases without new lesions",
}
COUNTS = {  # group: {title: what is counted}
    "with_new_lesions": {
        "true lesions": "lesions",
        "detected": "detected_lesions",
        "missed": "missed_lesions",
        "false lesions": "false_lesions",
    },
    "without_new_lesions": {"cases": "cases", "without a false lesion": "cases_without_false_lesion"},
}
SUMMARY_FIELDS = (
    "rater",
    "other",  # of a comparison: the second; its difference is the second less the first
    "group",
    "measure",
    "statistic",
    "cases",
    "value",
    "low_95",
    "high_95",
    "p",
    "p_holm",
)


def write_evaluation(raters: Raters, expected: dict[str, set[str]], output: Path) -> None:
    """Write everything, or nothing; figures need matplotlib. `expected`: {rater: its cases}.

    The files of an earlier evaluation in the folder go, so that all files there belong together. Raises
    InputError if the folder cannot be written.
    """
    summary = summarise(raters, expected)
    with aside(output) as folder:
        tables.write_tables([score for own in raters.values() for score in own], folder)
        tables.write_csv(folder / "summary.csv", SUMMARY_FIELDS, summary_lines(summary))
        _write_text(folder / "summary.json", json.dumps(_finite(summary), indent=1) + "\n")
        _write_text(folder / "summary.md", summary_page(summary))
        if figures.available():
            figures.write_all(raters, summary, folder)
        for path in _names(output):
            path.unlink(missing_ok=True)
        written = {path.name: path for path in _names(output) if (folder / path.name).is_file()}
        with writing_set(written) as unfinished:
            for name, path in unfinished.items():
                (folder / name).replace(path)


def check_output(output: Path, earlier: Iterable[Path]) -> None:
    """Raise InputError before any work is done if a file of ours would take the place of another's.

    Or of the tables of an `earlier` evaluation that is read.
    """
    ours = tables.is_evaluation(output) and (output / "summary.json").is_file()
    check_free(_names(output), ours)
    check_apart(_names(output), (folder / tables.CASES for folder in earlier))


def _names(output: Path) -> list[Path]:
    """All that `write_evaluation` may write or remove."""
    own = (tables.CASES, tables.LESIONS, tables.CALIBRATION, "summary.csv", "summary.json", "summary.md")
    return [output / name for name in (*own, *(f"{name}.png" for name in figures.NAMES))]


def summary_lines(summary: Summary) -> Iterator[Cells]:
    """The lines of summary.csv."""
    for rater, part in summary["raters"].items():
        for cells in _rater_lines(part):
            yield dict.fromkeys(SUMMARY_FIELDS) | {"rater": rater} | cells
    for cells in _ranking_lines(summary["ranking"]) if summary["ranking"] else ():
        yield dict.fromkeys(SUMMARY_FIELDS) | cells
    for comparison in summary["comparisons"]:
        for group, measures in GROUPS.items():
            for measure in measures:
                part = comparison[group][measure]
                yield {
                    "rater": comparison["first"],
                    "other": comparison["second"],
                    "group": group,
                    "measure": measure,
                    "statistic": "mean difference",
                    "cases": part["cases"],
                    **_value(part["difference_mean"], part["difference_mean_95"]),
                    "p": part["wilcoxon_p"],
                    "p_holm": part["wilcoxon_p_holm"],
                }


def summary_page(summary: Summary) -> str:
    """summary.md."""
    ranking, comparisons = summary["ranking"], summary["comparisons"]
    lines = ["# Evaluation", "", *_absent(summary)]
    for group in GROUPS:
        lines += [f"## {GROUP_TITLES[group]}", "", *_group_table(summary["raters"], group)]
    if ranking and ranking["measures"]:
        lines += ["## Ranking of the methods", "", *_ranking_table(ranking)]
    if comparisons:
        lines += ["## Paired differences", "", *_comparisons_table(comparisons)]
    lines += ["## Has a patient any new lesion?", "", *_patients_table(summary["raters"])]
    lines += ["## Lesions by size", "", *_sizes_table(summary["raters"])]
    calibrated = {
        rater: part["calibration"] for rater, part in summary["raters"].items() if part["calibration"]
    }
    if calibrated:
        lines += ["## Calibration of the probabilities", "", *_calibration_table(calibrated)]
    return "\n".join([*lines, *_how(summary["rules"], summary["version"])])


def _absent(summary: Summary) -> list[str]:
    lines = []
    for rater, cases in summary["missing"].items():
        if cases:
            lines += [f"{rater}: missing predictions, taken as empty: {', '.join(cases)}.", ""]
    for rater, cases in summary["left_out"].items():
        if cases:
            lines += [f"{rater}: left out, without a mask that can be scored: {', '.join(cases)}.", ""]
    return lines


def _group_table(raters: Summary, group: str) -> list[str]:
    """Means with their intervals, medians, and counts: a row a rater."""
    lines = []
    for kind in ("mean", "median"):
        rows = [
            [rater, part[group]["cases"], *(_cell(part[group][name], kind) for name in GROUPS[group])]
            for rater, part in raters.items()
        ]
        lines += _table([kind.capitalize(), "cases", *(TITLES[name] for name in GROUPS[group])], rows)
    counts = COUNTS[group]
    rows = [[rater, *(part[group][name] for name in counts.values())] for rater, part in raters.items()]
    return lines + _table(["Number", *counts], rows)


def _ranking_table(ranking: Summary) -> list[str]:
    measures = ranking["measures"]
    order = sorted(range(len(ranking["methods"])), key=lambda place: measures["overall"]["rank"][place])
    rows = []
    for place in order:
        cells = [
            f"{part['rank'][place]} [{part['rank_95'][place][0]:.0f}, {part['rank_95'][place][1]:.0f}]"
            for part in measures.values()
        ]
        rows.append([ranking["methods"][place], *cells])
    rows.append(["*Kendall's tau*", *(_number(part["kendall_tau"]) for part in measures.values())])
    cases = ["*cases*", *(str(part.get("cases", "")) for part in measures.values())]
    return [
        *_table(["Rank", *(TITLES[name] for name in measures)], [*rows, cases]),
        "Rank of the mean over the cases that all methods have; 1 is best, equal means share a rank. "
        "Overall: rank of the mean of the other ranks. In brackets: 95 % interval of the rank when cases are "
        "drawn anew. Kendall's tau: mean agreement of those orders with this one (1: always the same).",
        "",
    ]


def _comparisons_table(comparisons: Sequence[Summary]) -> list[str]:
    names = [(group, name) for group, measures in GROUPS.items() for name in measures if name in OFFICIAL]
    rows = []
    for comparison in comparisons:
        cells = []
        for group, name in names:
            part = comparison[group][name]
            difference = _with_interval(part["difference_mean"], part["difference_mean_95"])
            cells.append(f"{difference}, p {part['wilcoxon_p_holm']:.2g}" if part["cases"] else "–")
        rows.append([f"{comparison['second']} less {comparison['first']}", *cells])
    return [
        *_table(["Mean difference", *(TITLES[name] for _, name in names)], rows),
        "p: two-sided Wilcoxon signed-rank test of the paired cases, corrected for the number of comparisons "
        "(Holm). summary.csv also has p without correction, SensL and PPVL.",
        "",
    ]


def _patients_table(raters: Summary) -> list[str]:
    rows = []
    for rater, part in raters.items():
        patients = part["patients"]
        by_probability = patients["by_probability"]
        rows.append(
            [
                rater,
                *(_rate(patients[name]) for name in ("sensitivity", "specificity")),
                _cell(patients["by_volume"]["auc"], "value"),
                _cell(by_probability["auc"], "value") if by_probability else "–",
            ]
        )
    titles = ["", "sensitivity", "specificity", "AUC by volume", "AUC by peak probability"]
    return [
        *_table(titles, rows),
        "A case is called if at least one lesion is predicted. The area under the ROC curve orders the cases "
        "by their predicted volume, or by the largest probability in their map.",
        "",
    ]


def _sizes_table(raters: Summary) -> list[str]:
    titles = [f"{size_name(size)} mm³" for size in next(iter(raters.values()))["sizes"]]
    found = [[rater, *(_part(size["detected"]) for size in part["sizes"])] for rater, part in raters.items()]
    false = [[rater, *(size["false_lesions"] for size in part["sizes"])] for rater, part in raters.items()]
    return [*_table(["True lesions detected", *titles], found), *_table(["False lesions", *titles], false)]


def _calibration_table(raters: Summary) -> list[str]:
    titles = [f"{part['from']:.1f}–{part['to']:.1f}" for part in next(iter(raters.values()))["voxels"]]
    lines = []
    for kind, title in (("voxels", "Voxels in a lesion"), ("lesions", "Lesions that are true")):
        rows = [
            [
                rater,
                *(
                    _number(part["true"]["value"]) if kind == "voxels" else _part(part["true"])
                    for part in own[kind]
                ),
                _number(own[f"{kind[:-1]}_calibration_error"]),
            ]
            for rater, own in raters.items()
        ]
        lines += _table([title, *titles, "calibration error"], rows)
    return [
        *lines,
        "Columns: probability; a lesion counts by its mean. Calibration error: mean distance of the "
        "probability from the part that is true, each bin weighed by its number; for voxels without the "
        "lowest bin.",
        "",
    ]


def _how(rules: Summary, version: str) -> list[str]:
    return [
        "## How it was computed",
        "",
        "Measures as animaSegPerfAnalyzer computes them (lesions larger than "
        f"{rules['minimum_volume_mm3']:g} mm³, alpha {rules['alpha']:g}, beta {rules['beta']:g}, gamma "
        f"{rules['gamma']:g}). In brackets: 95 % bootstrap interval over cases ({RESAMPLES} resamples, seed "
        f"{SEED}); of counted parts (n/m): "
        "Wilson's 95 % interval, as if all were independent. Experts are measured against a consensus that "
        f"they helped to make, and have no rank. ms-new-lesions {version}.",
        "",
    ]


def _rater_lines(part: Summary) -> Iterator[Cells]:
    for group, measures in GROUPS.items():
        for measure in measures:
            own = part[group][measure]
            if isinstance(own, dict):
                for kind in ("mean", "median"):
                    yield {
                        "group": group,
                        "measure": measure,
                        "statistic": kind,
                        "cases": own["cases"],
                        **_value(own[kind], own[f"{kind}_95"]),
                    }
        for count in part[group]:
            if isinstance(part[group][count], int):
                yield {"group": group, "measure": count, "statistic": "count", "value": part[group][count]}
    patients = part["patients"]
    for name in ("sensitivity", "specificity"):
        yield {"group": "patients", "measure": name, "statistic": "rate", **_rate_cells(patients[name])}
    for name in ("by_volume", "by_probability"):
        if patients[name]:
            auc = patients[name]["auc"]
            yield {
                "group": "patients",
                "measure": name,
                "statistic": "auc",
                **_value(auc["value"], auc["value_95"]),
            }
    for size in part["sizes"]:
        group = f"lesions of {size_name(size)} mm3"
        yield {"group": group, "measure": "detected", "statistic": "rate", **_rate_cells(size["detected"])}
        yield {
            "group": group,
            "measure": "false_lesions",
            "statistic": "count",
            "value": size["false_lesions"],
        }
    if part["calibration"]:
        yield from _calibration_lines(part["calibration"])


def _calibration_lines(calibration: Summary) -> Iterator[Cells]:
    for kind in ("voxel", "lesion"):
        yield {
            "group": "calibration",
            "measure": f"{kind}_calibration_error",
            "statistic": "mean",
            "cases": calibration["cases"],
            "value": calibration[f"{kind}_calibration_error"],
        }
        for part in calibration[f"{kind}s"]:
            yield {
                "group": f"probability {part['from']:.1f}-{part['to']:.1f}",
                "measure": f"true {kind}s",
                "statistic": "rate",
                **_rate_cells(part["true"]),
            }


def _ranking_lines(ranking: Summary) -> Iterator[Cells]:
    for measure, part in ranking["measures"].items():
        head = {"group": "ranking", "measure": measure, "cases": part.get("cases")}
        for rater, place, around in zip(ranking["methods"], part["rank"], part["rank_95"], strict=True):
            yield {"rater": rater, **head, "statistic": "rank", **_value(place, around)}
        yield {**head, "statistic": "kendall_tau", "value": part["kendall_tau"]}


def size_name(size: Summary) -> str:
    """A bin of lesion volume in words: '10-30', '> 3000'."""
    high = size["to_mm3"]
    return f"> {size['from_mm3']}" if high is None else f"{size['from_mm3']}-{high}"


def _value(value: float, around: Sequence[float]) -> Cells:
    return {"value": value, "low_95": around[0], "high_95": around[1]}


def _rate_cells(rate: Summary) -> Cells:
    return {"cases": rate["whole"], **_value(rate["value"], rate["value_95"])}


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def _cell(part: Summary, kind: str) -> str:
    return _with_interval(part[kind], part[f"{kind}_95"])


def _with_interval(value: float, around: Sequence[float]) -> str:
    return "–" if math.isnan(value) else f"{value:.3f} [{around[0]:.3f}, {around[1]:.3f}]"


def _rate(rate: Summary) -> str:
    if not rate["whole"]:
        return "–"
    return f"{rate['part']}/{rate['whole']} = {_with_interval(rate['value'], rate['value_95'])}"


def _part(rate: Summary) -> str:
    return f"{rate['part']}/{rate['whole']}" if rate["whole"] else "–"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _finite(value: Any) -> Any:
    """JSON knows neither nan nor infinity: null."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_text(path: Path, text: str) -> None:
    write_bytes(text.encode(), path)
