"""How much does the command line say, and where: -v, -q, --log, and the bar of `segment`?"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .. import machine
from ..errors import InputError
from ..files import check_free

# Share of the time that each step takes: seconds of a pair of 1 mm on two quiet cores
# (benchmarks/RESULTS.md).
STEPS_S = {
    **{"brain": 2, "align": 7, "bias": 7, "anima": 60, "predict": 10, "swap": 10},
    **{"quality": 1, "lesions": 1, "grade": 10},
}
WRITING_S = 4
STAMP = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")  # how a line of a log begins

logger = logging.getLogger(__name__)


def speech_options(command: Any) -> Any:
    """-v, -q and --log, for the group and for each command: they are understood before and after its name."""
    for option in (
        click.option(
            "--log",
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_remember,
            help="Also write all that is said, with the time, to this file.",
        ),
        click.option(
            "-q", "--quiet", is_flag=True, expose_value=False, callback=_remember, help="Say errors alone."
        ),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Say how long each step takes.",
        ),
    ):
        command = option(command)
    return command


def _remember(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
    wanted = ctx.find_root().meta.setdefault(__name__, {})
    if value:
        wanted[parameter.name] = value
        start(ctx)


def start(ctx: click.Context) -> None:
    """Set up what is said, by all that was wanted so far.

    Raises UsageError for -v with -q, InputError for the log.
    """
    wanted = ctx.find_root().meta.get(__name__, {})
    if "quiet" in wanted and "verbose" in wanted:
        raise click.UsageError("-v and -q: wanted one of them")
    level = logging.ERROR if "quiet" in wanted else logging.INFO if "verbose" in wanted else logging.WARNING
    screen = logging.StreamHandler(sys.stderr)
    screen.addFilter(
        lambda record: record.levelno >= (min(level, logging.INFO) if _is_for_all(record, wanted) else level)
    )
    screen.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handlers: list[logging.Handler] = [screen]
    if "log" in wanted:
        check_free([wanted["log"]], ours=_is_log(wanted["log"]))
        try:
            file = logging.FileHandler(wanted["log"], encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{wanted['log']}: cannot be written ({error.strerror}); wanted a file's name"
            ) from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
        handlers.append(file)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def _is_log(path: Path) -> bool:
    """Whether a file is empty, or begins as our logs do: then what is said is added to it."""
    try:
        with path.open("rb") as file:
            beginning = file.read(len("2026-11-26 02:15:02,123 "))
    except OSError:
        return False
    return not beginning or STAMP.fullmatch(beginning) is not None


def _is_for_all(record: logging.LogRecord, wanted: dict[str, object]) -> bool:
    """A user should see which device was taken, and that programs which take minutes go on."""
    if "quiet" in wanted:
        return False
    return record.name == machine.__name__ or (hasattr(record, "program") and "bar" not in wanted)


class _Bar(logging.Handler):
    """Moves a progress bar when a step of the pipeline has ended, and names the program that runs."""

    def __init__(self, bar: Any, steps_s: dict[str, int]) -> None:
        super().__init__(logging.INFO)
        self.bar, self.steps_s = bar, steps_s

    def emit(self, record: logging.LogRecord) -> None:
        step = getattr(record, "step", None)
        if step in self.steps_s:
            self.bar.label = f"Comparing: {step} done"
            self.bar.update(self.steps_s[step])
        elif hasattr(record, "program"):
            self.bar.label = f"Comparing: {record.program} runs"
            self.bar.render_progress()


@contextmanager
def steps_shown(ctx: click.Context, chain: str, fast: bool) -> Iterator[None]:
    """A bar on a terminal while a patient is done, with the time left; nothing with -v or -q."""
    wanted = ctx.find_root().meta.get(__name__, {})
    if not sys.stderr.isatty() or {"quiet", "verbose"} & wanted.keys():
        yield
        return
    left_out = ({"brain", "bias"} if chain != "native" else set()) | (
        {"anima"} if chain != "anima" else set()
    )
    left_out |= {"swap", "grade"} if fast else set()
    steps_s = {step: seconds for step, seconds in STEPS_S.items() if step not in left_out}
    with click.progressbar(
        length=sum(steps_s.values()) + WRITING_S, label="Comparing", file=sys.stderr
    ) as bar:
        shown = _Bar(bar, steps_s)
        logging.getLogger().addHandler(shown)
        wanted["bar"] = True
        try:
            yield
            bar.update(WRITING_S)
        finally:
            logging.getLogger().removeHandler(shown)
            del wanted["bar"]
