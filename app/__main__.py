"""Where does the program start? `python -m app` in a clone and in the image;

`ms-new-lesions` where it is installed.
"""

import io
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType

# glibc gives large buffers back to the system at once and asks for them anew in every layer. Kept, the
# network takes half the time on a CPU. It reads these settings only when a process starts.
MALLOC = (
    "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1"
)


def _say_where(kind: type[BaseException], _error: BaseException, trace: TracebackType | None) -> None:
    """An error that nobody foresaw, in one line: its own text may quote a header, and a patient's name."""
    if issubclass(kind, KeyboardInterrupt):  # before the command line is there to take it
        sys.stderr.write("Aborted!\n")
        return
    last = traceback.extract_tb(trace)[-1]
    sys.stderr.write(
        f"Error: unexpected {kind.__name__} in {Path(last.filename).name}, line {last.lineno}; "
        "please report this line, which quotes nothing of the scans\n"
    )


def start() -> None:
    """Run the command line, in a process that glibc's settings have reached."""
    # numpy's and scipy's BLAS would each start a thread for every CPU of the host, whatever the quota; our
    # products are small
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # what torch cannot do on a Mac's GPU, the CPU does; torch reads this when it is imported
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "GLIBC_TUNABLES": MALLOC})

    for stream in (sys.stdout, sys.stderr):  # a console without a letter for mm³ shows another
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.excepthook = _say_where
    from .cli.main import main

    main()


if __name__ == "__main__":
    start()
