"""The text to paste, from a result made by hand, and by a site's own template."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import InputError
from app.pipeline import Result
from app.results import text, words
from app.results.text import Heading
from tests.results.made_up_result import make_result


@pytest.fixture(scope="module")
def result() -> Result:
    return make_result()


def test_the_text_says_what_is_new_gone_and_possible_and_what_may_be_missed(result: Result) -> None:
    said = text.text(result)
    parts = [line for line in said.splitlines() if line.isupper()]
    assert parts == [
        "TECHNIQUE",
        "COMPARISON",
        "NEW LESIONS",
        "OTHER CHANGES",
        "POSSIBLE, NOT COUNTED",
        "LIMITS",
    ]
    assert "Baseline: 64x60x28 voxels of 1x1x2 mm." in said
    assert "1. left, periventricular, 7.4 mm, 216 mm³, slice" in said
    assert "3. vanished: place not known, 27 -> 0 mm³" in said
    assert "4. place not known, 8 mm³: the baseline shows it, too" in said
    assert "5 of 10 of 30 mm³" in said
    assert "<" not in said


def test_names_are_said_as_given_and_only_then(result: Result) -> None:
    assert text.text(result).startswith("TECHNIQUE")
    assert text.text(result, Heading("A & B", followup="2024")).startswith("A & B. Follow-up: 2024.\n")


def test_a_site_s_own_template(result: Result, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{{ words.headline(result) }}; {{ findings.possible|length }} möglich", encoding="utf-8")
    assert text.text(result, Heading(template=own)) == "2 new lesions, 0.28 ml; 1 möglich\n"


@pytest.mark.parametrize(
    "content",
    ["{{ nothing }}", "{% if %}", "{{ ''.__class__.__mro__ }}", "{{ 1 / 0 }}", "{{ version + 1 }}", None],
    ids=["unknown", "broken", "unsafe", "division", "types", "missing"],
)
def test_a_template_that_cannot_be_filled_in_is_named(
    content: str | None, result: Result, tmp_path: Path
) -> None:
    own = tmp_path / "own.txt"
    if content is not None:
        own.write_text(content)
    with pytest.raises(InputError, match=r"own\.txt: cannot be filled in"):
        text.text(result, Heading(template=own))


@pytest.mark.parametrize(
    ("heading", "message"),
    [
        (Heading(label="Trial \udcff"), r"'Trial \\udcff': a label that is not in UTF-8"),
        (Heading(followup="\udcff"), "a label that is not in UTF-8"),
        (Heading(template=Path("nowhere.txt")), "nowhere.txt: cannot be filled in"),
    ],
)
def test_what_cannot_be_said_is_known_before_any_work(heading: Heading, message: str) -> None:
    with pytest.raises(InputError, match=message):
        heading.check()


def test_what_is_besides_new_lesions_is_counted(result: Result) -> None:
    assert words.besides(result.findings) == [
        "1 vanished (0.03 ml)",
        "1 mark that may be a lesion, not counted",
    ]
    assert words.besides(replace(result.findings, changed=[], possible=[])) == []


def test_the_load_of_both_visits_is_said_where_it_is_known(result: Result) -> None:
    assert "not known" in words.load(result.findings)
    known = replace(result.findings, load_mm3=(1500.0, 2250.0))
    assert words.load(known) == "All lesions together: 1.50 ml at baseline, 2.25 ml at follow-up."
