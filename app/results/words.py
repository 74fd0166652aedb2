"""How is a result said in plain words? The page, the text and the command line say it alike."""

from collections.abc import Iterable

from ..method.change import KINDS
from ..method.findings import Findings
from ..method.grade import CONTRAST_SPREADS, Found
from ..method.lesions import Lesion
from ..method.verdict import Grade, Verdict
from ..pipeline import Result

VERDICTS: dict[Grade, str] = {
    "comparable": "Comparable",
    "with caution": "Compare with caution",
    "not comparable": "Not comparable",
}
NOT_TRIED = (
    "Not tried (--fast): what could have been missed is not known, and vanished lesions were not looked for."
)


def headline(result: Result) -> str:
    """'2 new lesions, 0.07 ml', 'No new lesion found', or 'Not comparable: 2 possible lesions'."""
    if result.verdict.grade == "not comparable":
        return f"Not comparable: {counted(len(result.findings.possible), 'possible lesion')}"
    if not result.lesions:
        return "No new lesion found"
    return result.in_words()


def besides(findings: Findings) -> list[str]:
    """What there is besides new lesions: ['1 vanished (0.33 ml)', '2 marks that are possible lesions']."""
    said = []
    for kind in KINDS[1:]:
        if kind != "unchanged" and (lesions := findings.of_kind(kind)):
            said.append(f"{len(lesions)} {kind} ({_ml(lesions):.2f} ml)")
    if findings.possible:
        said.append(f"{counted(len(findings.possible), 'mark')} that may be a lesion, not counted")
    return said


def load(findings: Findings) -> str:
    """The volume of all lesions at both visits, or that it is not known."""
    if findings.load_mm3 is None:
        return "The total load is not known: no lesions of the whole brain were drawn."
    before, after = (volume_mm3 / 1000 for volume_mm3 in findings.load_mm3)
    return f"All lesions together: {before:.2f} ml at baseline, {after:.2f} ml at follow-up."


def order(findings: Findings) -> str | None:
    """A question, if more lesions vanish than appear, by number or by volume."""
    vanished = findings.of_kind("vanished")
    gone, new = len(vanished), len(findings.new)
    gone_ml, new_ml = _ml(vanished), _ml(findings.new)
    if gone <= new and gone_ml <= new_ml:
        return None
    return (
        f"{counted(gone, 'lesion')} at baseline {'is' if gone == 1 else 'are'} gone ({gone_ml:.2f} ml), and "
        f"{new or 'none'} {'is' if new == 1 else 'are'} new ({new_ml:.2f} ml). "
        "That is rare in MS: are the scans in the right order?"
    )


def missed(result: Result) -> list[str]:
    """What lesions painted into these scans say of those that were not found."""
    if result.grade is None:
        return [NOT_TRIED]
    painted = [found for found in result.grade.found if found.painted]
    if not painted:
        return ["There was no room in the white matter to try: what could have been missed is not known."]
    tried = "; ".join(_found(found) for found in painted)
    swapped = len(result.findings.of_kind("vanished"))
    return [
        "Tried on these two scans: of new lesions of a usual contrast "
        f"({CONTRAST_SPREADS:.1f} spreads) painted into "
        f"the white matter of the follow-up, {tried}.",
        f"With the scans in the other order {counted(swapped, 'lesion')} would be marked."
        + (
            ""
            if not swapped or order(result.findings)
            else " Lesions rarely vanish: about as many may be marked by mistake."
        ),
    ]


def summary(result: Result) -> list[str]:
    """What the command line says below the headline."""
    said = [f"{verdict(result.verdict)}."]
    if also := besides(result.findings):
        said.append(f"Also: {'; '.join(also)}.")
    if asked := order(result.findings):
        said.append(asked)
    return [*said, *missed(result)]


def verdict(judged: Verdict) -> str:
    """'Compare with caution: the baseline has slices of 4.0 mm', without mere notes."""
    grave = [reason.words for reason in judged.reasons if reason.grade == judged.grade != "comparable"]
    return f"{VERDICTS[judged.grade]}: {'; '.join(grave)}" if grave else VERDICTS[judged.grade]


def _found(found: Found) -> str:
    low, high = (round(100 * limit) for limit in found.interval())
    return (
        f"{found.found} of {found.painted} of {found.size_mm3:.0f} mm³ "
        f"({found.diameter_mm:.1f} mm across) are found "
        f"(95 % interval: {low} to {high} %)"
    )


def place(lesion: Lesion) -> str:
    """'left, periventricular', or that it is not known."""
    return lesion.place.in_words() if lesion.place else "place not known"


def slices(lesion: Lesion, instances: tuple[list[str] | None, list[str] | None] = (None, None)) -> str:
    """'31 / 30': the slices of baseline and follow-up through its centre, with DICOM's Instance Number."""
    if lesion.slices is None:
        return "—"
    said = []
    for number, own in zip(lesion.slices, instances, strict=True):
        said.append(f"{number} (image {own[number - 1]})" if own else str(number))
    return " / ".join(said)


def millimetres(ras_mm: tuple[float, float, float]) -> str:
    """'12, −30, 8', whole millimetres."""
    return ", ".join(str(round(side)) for side in ras_mm).replace("-", "−")


def counted(count: int, what: str) -> str:
    """'no lesion', '1 lesion', '2 lesions'."""
    return f"{count or 'no'} {what}{'' if count <= 1 else 's'}"


def _ml(lesions: Iterable[Lesion]) -> float:
    """Their volume together."""
    return sum(lesion.volume_mm3 for lesion in lesions) / 1000
