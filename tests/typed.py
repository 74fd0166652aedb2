"""Lines of the documents, typed as a reader would."""

import subprocess
from pathlib import Path


def run(lines: str, folder: Path, environment: dict[str, str]) -> str:
    """Run shell lines in a folder; returns their standard output. What fails in them fails the test."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
