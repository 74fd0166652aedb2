"""How is the image run that tests/container/build.sh built?

With as little allowed as a careful platform would.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGE = "localhost/ms-new-lesions:test"
UID = 4321 if os.getuid() == 0 else os.getuid()  # unknown to the image
SETTINGS_FILE = Path(__file__).resolve().parents[1] / "tests" / "container" / "containers.conf"
SETTINGS = {**os.environ, "CONTAINERS_CONF": str(SETTINGS_FILE)}
NOTHING_ALLOWED = (
    "--network=none",
    "--read-only",
    f"--user={UID}:{UID}",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=4g",
    "--shm-size=1m",
    "--pids-limit=256",
    "--env=HOME=/nowhere",
)


@dataclass(frozen=True)
class Engine:
    """Docker or podman."""

    command: str

    @staticmethod
    def find() -> "Engine":
        """The one that holds the image.

        Raises RuntimeError if none does: a test without its image has failed.
        """
        for command in ("docker", "podman"):
            if shutil.which(command) and Engine(command).call("image", "inspect", IMAGE).returncode == 0:
                return Engine(command)
        raise RuntimeError(f"no image {IMAGE}: `make image-test` builds it")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any command of the engine, with its output and exit code."""
        return subprocess.run(
            [self.command, *arguments], env=SETTINGS, capture_output=True, text=True, check=False
        )

    def run(self, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """A container that has all of NOTHING_ALLOWED and the given options, from start to end."""
        return self.call("run", "--rm", *NOTHING_ALLOWED, *options, IMAGE, *arguments)

    def image(self) -> dict[str, Any]:
        """What the engine knows of the image."""
        described: dict[str, Any] = json.loads(self.call("image", "inspect", IMAGE).stdout)[0]
        return described


def folder_of_the_caller(folder: Path) -> Path:
    """Made, and handed to UID: the person who runs the container."""
    folder.mkdir(parents=True)
    if os.getuid() == 0:
        os.chown(folder, UID, UID)
    return folder
