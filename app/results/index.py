"""The page of a cohort: who has new lesions, who could be compared, who failed and why; works from a disk."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from ..method.verdict import GRADES
from .record import Record, smallest_found_mm3
from .report import PAGE, PAGES, policy
from .words import counted

# heading, and how it sorts; None: it does not
COLUMNS = (
    ("patient", "text"),
    ("verdict", "number"),
    ("new", "number"),
    ("volume, ml", "number"),
    ("vanished", "number"),
    ("possible", "number"),
    ("smallest found, mm³", "number"),
    ("new lesions at follow-up", None),
    ("warnings, or why it failed", None),
)


@dataclass(frozen=True)
class Row:
    """One pair of visits, which goes by the patient's name where it is the only one; links are relative to
    the page.
    """

    patient: str
    record: Record | None  # None: failed
    problem: str
    report: str | None
    thumbnails: str | None

    @property
    def rank(self) -> int:
        """By which the verdict sorts: the best first."""
        return GRADES.index(self.record.comparison["verdict"]) if self.record else len(GRADES)

    @property
    def smallest_found_mm3(self) -> str:
        """As the summary has it."""
        return smallest_found_mm3(self.record) if self.record else ""

    @property
    def kinds(self) -> list[str]:
        """Which of the page's choices it belongs to."""
        if self.record is None:
            return ["failed"]
        belongs = {
            "new": self.record.new_lesions > 0,
            "possible": bool(self.record.lesions["possible"]),
            "caution": self.rank > 0,
        }
        return [kind for kind, does in belongs.items() if does]


def page(rows: list[Row], patients: int, followed: Mapping[str, str] | None = None) -> str:
    """The page as text, pairs in the order given; `patients` is how many have them.

    `followed` are the pages of lesions through all visits: {patient: link}.
    """
    script = (PAGE / "index.js").read_text(encoding="utf-8")
    with_new = sum("new" in row.kinds for row in rows)
    failed = sum(row.record is None for row in rows)
    who = counted(patients, "patient")
    of = who if patients == len(rows) else f"{counted(len(rows), 'pair')} of {who}"
    return PAGES.get_template("index.html").render(
        policy=policy(script.encode(), images="'self' file: data:"),
        style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        who=who,
        words=f"{of}, {with_new} with new lesions, {failed} failed",
        columns=COLUMNS,
        rows=rows,
        followed=followed or {},
        script=Markup(script),
    )
