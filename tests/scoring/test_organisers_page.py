import re
import shlex
from pathlib import Path

import pytest

from tests.scoring.challenge import lay_out, run, second_method

PAGE = (Path(__file__).parents[2] / "docs" / "organisers.md").read_text(encoding="utf-8")
LINES = re.findall(r"^ms-new-lesions evaluate (.+)$", PAGE.replace("\\\n", " "), re.MULTILINE)


def test_the_lines_of_the_page_work_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page, in a folder with what it says."""
    predicted, references = lay_out(tmp_path, predictions="ours")
    predicted.rename(tmp_path / "results")
    references.rename(tmp_path / "truth")
    (tmp_path / "submissions").mkdir()
    second_method(tmp_path).rename(tmp_path / "submissions" / "team_b")
    second_method(tmp_path).rename(tmp_path / "submissions" / "team_c")
    monkeypatch.chdir(tmp_path)
    assert len(LINES) >= 4
    for line in LINES:
        result = run(*shlex.split(line))
        assert result.exit_code == 0, (line, result.output)


def test_every_file_that_is_written_is_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted, references = lay_out(tmp_path, predictions="ours")
    monkeypatch.chdir(tmp_path)
    assert run("--predictions", predicted, "--references", references, "--output", "out").exit_code == 0
    assert [path.name for path in Path("out").iterdir() if f"`{path.name}`" not in PAGE] == []
