from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from app.scoring import challenge, figures, masks, summary
from app.scoring.masks import Method
from app.scoring.summary import Raters
from tests.scoring.challenge import evaluate, lay_out

LONG = "a_team_from_far_away_with_a_very_long_name_indeed-v2.1"


def _raters(folder: Path, names: list[str]) -> Raters:
    """The made-up challenge, scored once and given to many methods."""
    predicted, references = lay_out(folder, predictions="ours")
    jobs = masks.find_jobs([Method("m", predicted)], references, False, False, [])
    scores = list(challenge.score_all(jobs, 1, []))
    return dict.fromkeys(names, scores)


def _is_cut(figure: Figure) -> bool:
    """Whether anything that is drawn reaches over the edge of the figure; inches."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    drawn = figure.get_tightbbox(renderer)
    width, height = figure.get_size_inches()
    return bool(min(drawn.x0, drawn.y0) < 0 or drawn.x1 > width or drawn.y1 > height)


def test_a_title_that_is_too_long_is_seen_as_cut() -> None:
    figure = Figure(figsize=(3, 3))
    axes = figure.subplots()
    assert not _is_cut(figure)
    axes.set_title("A title that is much too long for a figure of three inches")
    assert _is_cut(figure)


def test_no_title_or_name_is_cut(tmp_path: Path) -> None:
    raters = _raters(tmp_path, [f"{LONG}-{number}" for number in range(2)])
    drawn = figures.draw_all(raters, summary.summarise(raters, {}))
    assert tuple(drawn) == figures.NAMES
    assert [name for name, figure in drawn.items() if _is_cut(figure)] == []


def test_without_cases_of_both_kinds_there_is_no_roc_curve(tmp_path: Path) -> None:
    (own,) = _raters(tmp_path, ["a"]).values()
    raters = {"a": [score for score in own if score.new_lesions]}
    assert set(figures.draw_all(raters, summary.summarise(raters, {}))) == {
        "measures",
        "sizes",
        "calibration",
    }


@pytest.mark.usefixtures("drawn")
def test_figures_of_one_method_are_written(tmp_path: Path) -> None:
    output = evaluate(tmp_path, *lay_out(tmp_path))
    found = {path.name: path.read_bytes() for path in output.glob("*.png")}
    assert set(found) == {"measures.png", "sizes.png", "patients.png"}
    assert all(content.startswith(b"\x89PNG") for content in found.values())
