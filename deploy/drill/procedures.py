"""Procedures of docs/operations.md, typed as they are written there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Final

from deploy.trial.deployment import Deployment
from models.errors import KennelError

PAGE: Final = "docs/operations.md"
BACKUPS: Final = "/backups/kennel"
"""Where the page's backups are; a drill has a folder of its own instead."""

_PODMAN: Final = Path(__file__).parent / "docker_by_podman.sh"


def commands_of(page: str, heading: str) -> str:
    """The first block of commands under *heading*.

    Raises:
        KennelError: there is no such heading, or no block under it.
    """
    _, found, section = page.partition(f"\n## {heading}\n")
    block = re.search(r"^```\n(.*?)^```$", section.split("\n## ")[0], re.M | re.S)
    if not found or block is None:
        raise KennelError(f"{PAGE} has no commands under {heading!r}")
    return block[1]


def follow(deployment: Deployment, heading: str) -> None:
    """Type the commands under *heading* until one fails.

    Raises:
        CalledProcessError: one failed.
        KennelError: there are none.
    """
    page = (deployment.folder / PAGE).read_text()
    backups = shlex.quote(str(backups_folder(deployment)))
    commands = commands_of(page, heading).replace(BACKUPS, backups)
    deployment.run("bash", "-euxc", _preamble(deployment) + commands)


def backups_folder(deployment: Deployment) -> Path:
    """The drill's place for backups, beside what may be lost."""
    return deployment.folder.parent / "backups"


def _preamble(deployment: Deployment) -> str:
    # The copy of the working tree has nowhere to pull from, and no .venv.
    kennel = f"{shlex.quote(sys.executable)} -m kennel.cli"
    lines = ["git() { :; }", f'kennel() {{ {kennel} "$@"; }}']
    if deployment.engine == "podman":
        lines += [f'compose() {{ {shlex.join(deployment.command)} "$@"; }}']
        lines += [_PODMAN.read_text()]
    return "\n".join([*lines, ""])
