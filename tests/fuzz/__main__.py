"""`python -m tests.fuzz`: so many changed files and so many kills; exit code 0 if all went well."""

import argparse
import logging
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

MEMORY = 4 << 30  # bytes of address space, for one file as for all
SECONDS = 60  # for one file


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = []
        if arguments.kills:  # first: a process that has used threads should not fork
            from tests.fuzz import kills

            wrong = kills.many(arguments.kills, arguments.first, Path(folder), _say)
            print("", *wrong, sep="\n", flush=True)
        wrong += files(range(arguments.first, arguments.first + arguments.files), Path(folder))
    sys.exit(1 if wrong else 0)


def files(seeds: range, folder: Path) -> list[str]:
    """What was wrong with the files of these seeds; printed, too, with the seed in hand."""
    from tests.fuzz.files import KINDS, Masters
    from tests.fuzz.judge import judge

    logging.getLogger("app").addHandler(logging.NullHandler())  # warnings are no verdict
    masters = Masters.write(folder / "masters")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        path = masters.make(seed, place)
        before = _listing(place)
        _say(f"seed {seed}")
        signal.alarm(SECONDS)
        started = time.monotonic()
        verdict = judge(path)
        signal.alarm(0)
        if _listing(place) != before:
            verdict = "files were left"
        kind = KINDS[seed % len(KINDS)]
        counts[f"{kind} {verdict if verdict in ('read', 'refused') else 'wrong'}"] += 1
        if verdict not in ("read", "refused"):
            wrong.append(f"seed {seed}, {kind}: {verdict} ({time.monotonic() - started:.1f} s)")
            print(f"\r{wrong[-1]}", flush=True)
        _remove(place)
    print("\r" + "\n".join(f"{count:5} {name}" for name, count in sorted(counts.items())), flush=True)
    return wrong


def _say(line: str) -> None:
    print(f"\r{line}", end="", flush=True)


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def _listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
