"""Do the documents say what is there? Every document, section and link that is named exists."""

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

KINDS = (".py", ".md", ".sh", ".toml", ".yaml", ".cff", ".js", ".css", ".html")
FOLDERS = ("app", "training", "tests", "benchmarks", "docs", "weights")
COLUMNS = 100
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CITED = re.compile(r"\b((?:docs|training|benchmarks|weights)/[A-Za-z_]+\.md)(?:, (\d+))?")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def _documents() -> list[Path]:
    inside = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.md"))]
    return [*sorted(REPOSITORY.glob("*.md")), *inside]


def _texts() -> dict[Path, str]:
    files = [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*") if path.suffix in KINDS]
    tops = [path for path in REPOSITORY.iterdir() if path.is_file() and path.suffix in KINDS]
    return {path: path.read_text(encoding="utf-8") for path in (*files, *tops)}


def _anchors(document: Path) -> set[str]:
    """Those that GitHub gives the headings: '## 4. Inference' is '4-inference'."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_document_and_section_that_is_cited_exists() -> None:
    undefined = []
    for path, text in _texts().items():
        for name, section in CITED.findall(text):
            document = REPOSITORY / name
            if not document.is_file() or (
                section and not any(each.startswith(f"{section}-") for each in _anchors(document))
            ):
                undefined.append(f"{path.relative_to(REPOSITORY)}: {name}, {section}")
    assert undefined == []


@pytest.mark.parametrize("document", _documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    broken = []
    for target, anchor in LINK.findall(document.read_text(encoding="utf-8")):
        file = document.parent / target if target else document
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("document", _documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_line_of_prose_has_at_most_100_columns(document: Path) -> None:
    """A table's row, a line of code or a picture cannot be broken."""
    prose = FENCE.sub("", document.read_text(encoding="utf-8"))
    assert [line for line in prose.splitlines() if len(line) > COLUMNS and line[0] not in "|!<"] == []


def test_the_readme_s_numbers_are_those_of_the_card() -> None:
    readme, card = (
        " ".join((REPOSITORY / name).read_text().split()) for name in ("README.md", "weights/MODEL_CARD.md")
    )
    said = re.search(
        r"Of (\d+) lesions painted .* (0\.\d+) were found at (0\.\d+) false marks a pair: (0\.\d+) of "
        r"those of 100 mm³ and more, (0\.\d+) of 30 to 100",
        readme,
    )
    assert said
    assert re.search(
        rf"painted lesions found: {said[2]} \([^)]*\) of {said[1]}; {said[3]}0 false marks a pair", card
    )
    assert f"100 and more mm^3: {said[4]} (" in card
    assert f"30 to 100 mm^3: {said[5]} (" in card
