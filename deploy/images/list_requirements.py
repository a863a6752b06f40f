"""Prints what pip needs to install the project's dependencies, each with its hashes.

    python list_requirements.py pyproject.toml constraints.txt EXTRA... |
        pip install --require-hashes --requirement /dev/stdin
    python list_requirements.py pyproject.toml constraints.txt --packages NAME...
    python list_requirements.py --installed REPORT    # pip's report: what it installed

constraints.txt pins the packages of all extras. pip needs exactly those to install: the
ones that pyproject.toml names and, by the ``# via`` of each pin, their dependencies.
The extra ``build`` stands for the packages that build the project itself.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

BUILD: Final = "build"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_REMEDY: Final = "pin it with make constraints"


@dataclass(frozen=True)
class Pin:
    """One version of a package, for all Pythons or those of its marker.

    Attributes:
        text: its lines for pip, hashes included.
        via: the packages that need it.
    """

    name: str
    text: str
    via: frozenset[str]


def read_pins(constraints: Path) -> list[Pin]:
    """All pins of *constraints*.

    Raises:
        SystemExit: a pin has no hash.
    """
    text = constraints.read_text(encoding="utf-8")
    return [_read_pin(block) for block in re.split(r"\n(?=\w)", text.strip())]


def list_requirements(
    pyproject: Path, pins: Iterable[Pin], extras: Iterable[str]
) -> list[Pin]:
    """The *pins* of all packages that the project needs, with *extras*.

    Raises:
        SystemExit: there is no such extra, or a package is not pinned.
    """
    pins = list(pins)
    needed = set(_direct(tomllib.loads(pyproject.read_text(encoding="utf-8")), extras))
    while more := {pin.name for pin in pins if pin.via & needed} - needed:
        needed |= more
    return choose(pins, needed)


def choose(pins: Iterable[Pin], names: Iterable[str]) -> list[Pin]:
    """The *pins* of the packages *names*.

    Raises:
        SystemExit: one of them is not pinned.
    """
    pins, wanted = list(pins), {_normal(name) for name in names}
    missing = wanted - {pin.name for pin in pins}
    if missing:
        sys.exit(f"constraints.txt has no {', '.join(sorted(missing))}: {_REMEDY}")
    return [pin for pin in pins if pin.name in wanted]


def _direct(content: dict[str, Any], extras: Iterable[str]) -> list[str]:
    project = content["project"]
    known = {**project["optional-dependencies"]}
    known[BUILD] = content["build-system"]["requires"]
    names = [_normal(each) for each in project["dependencies"]]
    for extra in extras:
        if extra not in known:
            sys.exit(f"there is no extra {extra!r}: there are {', '.join(known)}")
        for requirement in known[extra]:
            name = _normal(requirement)
            if name == project["name"]:  # "kennel[s3,tracing]": extras of its own
                names += _direct(content, re.findall(r"\w+", requirement)[1:])
            else:
                names.append(name)
    return names


def _read_pin(block: str) -> Pin:
    lines = block.splitlines()
    vias = [line.partition("# via ")[2] for line in lines if "# via " in line]
    kept = [line for line in lines if not line.lstrip().startswith("#")]
    if "--hash=" not in block:
        sys.exit(f"constraints.txt has no hash for {lines[0]}: {_REMEDY}")
    via = frozenset(_normal(each) for line in vias for each in line.split(", "))
    return Pin(_normal(block), "\n".join(kept), via)


def _normal(requirement: str) -> str:
    found = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def list_installed(report: Path) -> list[str]:
    """A pin for each package that pip installed, with the hash of its file.

    Raises:
        KeyError: *report* is not pip's.
    """
    installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [_installed(each["metadata"], each["download_info"]) for each in installed]


def _installed(about: dict[str, str], source: dict[str, Any]) -> str:
    archive = source["archive_info"]
    # Before pip 22.3 there was only "hash", as in sha256=0123.
    hashes = archive.get("hashes") or dict([archive["hash"].split("=", 1)])
    digest = hashes["sha256"]
    return f"{about['name']}=={about['version']} --hash=sha256:{digest}"


def main(pyproject: str, constraints: str, *chosen: str) -> None:
    """Print the requirements of the extras or packages *chosen*."""
    if pyproject == "--installed":
        sys.stdout.write("".join(f"{x}\n" for x in list_installed(Path(constraints))))
        return
    pins = read_pins(Path(constraints))
    if chosen[:1] == ("--packages",):
        found = choose(pins, chosen[1:])
    else:
        found = list_requirements(Path(pyproject), pins, chosen)
    sys.stdout.write("".join(f"{pin.text}\n" for pin in found))


if __name__ == "__main__":
    main(*sys.argv[1:])
