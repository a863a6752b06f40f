"""Prints the project's requirements, and those of the extras that are named, for pip.

Images install them before they copy the code, so that a change of code does not install
everything again.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path


def list_requirements(pyproject: Path, extras: Iterable[str]) -> list[str]:
    """The requirements in *pyproject*, with those of *extras*.

    Raises:
        SystemExit: it knows no such extra.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    known = project["optional-dependencies"]
    requirements: list[str] = list(project["dependencies"])
    for extra in extras:
        if extra not in known:
            sys.exit(f"there is no extra {extra!r}: there are {', '.join(known)}")
        requirements += known[extra]
    return requirements


if __name__ == "__main__":
    sys.stdout.write("\n".join(list_requirements(Path(sys.argv[1]), sys.argv[2:])))
