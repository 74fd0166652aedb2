"""Files are whole or absent, and nothing of a user's is replaced. What kills a process is a real signal."""

import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.errors import InputError
from app.files import (
    PREFIX,
    aside,
    check_apart,
    check_free,
    clear_leftovers,
    locked,
    temporary,
    write_bytes,
    writing,
    writing_set,
)
from tests.conftest import REPOSITORY


def _killed(code: str) -> None:
    """Run a line of Python that ends with its own death."""
    start = "import os, signal, sys; from pathlib import Path; from app.files import *; import app.files\n"
    done = subprocess.run([sys.executable, "-c", start + code], cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL


DIE = "os.kill(os.getpid(), signal.SIGKILL)"


def test_what_a_killed_process_left_aside_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    _killed(f"with aside(Path({str(tmp_path)!r})) as place: (place / 'scan').touch(); {DIE}")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(PREFIX)
    with aside(tmp_path) as living:
        clear_leftovers(tmp_path)
        assert list(tmp_path.iterdir()) == [living]
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_was_removing_when_it_was_killed_goes(tmp_path: Path) -> None:
    """The lock was the first file to go."""
    _killed(f"""
import shutil
def killed(place, **named): (place / app.files.LOCK).unlink(); {DIE}
with aside(Path({str(tmp_path)!r})) as place:
    (place / "slice.png").touch()
    shutil.rmtree = lambda place, **named: killed(place) if place.exists() else None
""")
    assert [path.name for path in tmp_path.glob("*/*")] == ["slice.png"]
    clear_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_stopped_as_it_clears_up_clears_up_as_it_ends(tmp_path: Path) -> None:
    """Ctrl-C comes while a folder aside is removed."""
    code = f"""
import shutil
from pathlib import Path
from app.files import aside
remove = shutil.rmtree
def stopped(*arguments, **named):
    shutil.rmtree = remove
    raise KeyboardInterrupt
with aside(Path({str(tmp_path)!r})) as place:
    (place / "slice.png").touch()
    shutil.rmtree = stopped
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=False, stderr=subprocess.DEVNULL
    )
    assert done.returncode in (-signal.SIGINT, 130)
    assert list(tmp_path.iterdir()) == []


def test_a_set_whose_process_is_killed_as_it_renames_is_taken_back(tmp_path: Path) -> None:
    """Of two files, the first has its name when the process dies; a file of somebody else stays."""
    (tmp_path / "mine").write_text("kept")
    code = f"""
paths = {{"a": Path({str(tmp_path)!r}, "a"), "b": Path({str(tmp_path)!r}, "b")}}
rename = Path.replace
Path.replace = lambda path, target: {DIE} if target.name == "b" else rename(path, target)
with writing_set(paths) as unfinished:
    for path in unfinished.values(): path.touch()
"""
    _killed(code)
    assert (tmp_path / "a").exists()
    clear_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_set_is_whole_or_absent(tmp_path: Path) -> None:
    paths = {"a": tmp_path / "x" / "a", "b": tmp_path / "y" / "b"}
    with pytest.raises(InputError, match="cannot be written"), writing_set(paths) as unfinished:
        for path in unfinished.values():
            path.write_text("new")
        paths["b"].mkdir()
    assert not paths["a"].exists()
    assert not (tmp_path / "x").exists()
    paths["b"].rmdir()
    with writing_set(paths) as unfinished:
        for path in unfinished.values():
            path.write_text("new")
    assert [path.read_text() for path in paths.values()] == ["new", "new"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "x", "y"]


def test_a_file_that_does_not_read_back_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mask.nrrd"
    with (
        pytest.raises(InputError, match=rf"^{path}: does not read back as it was written"),
        writing(path, lambda unfinished: unfinished.read_bytes() == b"whole") as unfinished,
    ):
        unfinished.write_bytes(b"who")
    assert list(tmp_path.iterdir()) == []


def test_a_limit_on_the_size_of_files_is_one_line(tmp_path: Path) -> None:
    """As `ulimit -f` sets it; Python ignores the signal, and the system refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(File too large\)"):
            write_bytes(b"x" * 2000, tmp_path / "report.html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", ["scan", "./scan", "link", "twin", "sub/../scan"])
def test_an_output_is_never_an_input(other: str, tmp_path: Path) -> None:
    """By its path, by a symbolic link, by a hard link."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "scan").touch()
    (tmp_path / "link").symlink_to(tmp_path / "scan")
    (tmp_path / "twin").hardlink_to(tmp_path / "scan")
    with pytest.raises(InputError, match="an input, and named as an output"):
        check_apart([tmp_path / "mask", Path(f"{tmp_path}/{other}")], [tmp_path / "scan"])


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(tmp_path)
    check_apart([tmp_path / "a", tmp_path / "b"], [tmp_path / "c"])
    with pytest.raises(InputError, match="named for two outputs"):
        check_apart([tmp_path / "a", tmp_path / "here" / "a"], [])


def test_a_file_that_nobody_knows_stays(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    check_free([tmp_path / "dangling"], ours=True)
    check_free([tmp_path / "nothing"], ours=False)
    with pytest.raises(InputError, match="is there already"):
        check_free([tmp_path / "dangling"], ours=False)


def test_a_lock_says_who_holds_it_and_goes_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "new" / ".run"
    _killed(f"with locked(Path({str(file)!r}), 'dead'): {DIE}")
    assert file.read_text() == "dead"
    with locked(file, "process 7"):
        refused = pytest.raises(InputError, match="new: in use by process 7; wanted one run at a time")
        with refused, locked(file, "process 8"):
            pass
        assert file.read_text() == "process 7"
    assert not file.exists()


def test_without_a_temporary_folder_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(InputError, match="TMPDIR"), temporary():
        pass


def test_a_temporary_folder_is_nobody_else_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _killed(f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\nwith temporary() as place: {DIE}")
    with temporary() as place:
        assert list(tmp_path.iterdir()) == [place]
        assert place.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_who_clears_leftovers_leaves_what_a_neighbour_is_writing(tmp_path: Path) -> None:
    """One thread clears without a pause, while another writes: no folder aside is taken for abandoned."""
    done = threading.Event()

    def clear() -> None:
        while not done.is_set():
            clear_leftovers(tmp_path)

    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        for number in range(300):
            with writing(tmp_path / "result.txt") as unfinished:
                unfinished.write_text(str(number))
    finally:
        done.set()
        clearing.join()
    assert (tmp_path / "result.txt").read_text() == "299"
