"""This machine: Python, packages, processors, memory."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import kennel
from kennel.doctor.deployment import Deployment
from kennel.doctor.finding import Finding, fail, ok, unknown, warn
from kennel.doctor.work_list import judge_version
from kennel.stack.redis_config import program_version, redis_server_program
from models.environment import usable_processors
from models.errors import InvalidRequestError

TESTED_RQ: Final = "2.12."
"""Its inner workings are relied on (worker.process, worker.stuck)."""

WORKER_MEGABYTES: Final = 150
API_MEGABYTES: Final = 110
_PYTHON: Final = (3, 11)
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_CGROUP: Final = Path("/sys/fs/cgroup")


def check_machine(deployment: Deployment) -> Iterator[Finding]:
    """What all processes here share."""
    yield _python()
    yield _rq()
    yield from _pins(Path(kennel.__file__).parents[1] / "constraints.txt")
    yield _tensorflow()
    yield from _redis_program()
    yield _processors(deployment.service.web_workers)
    yield _memory(deployment.service.web_workers)
    yield _shared_memory(Path("/dev/shm"))


def _python() -> Finding:
    seen = platform.python_version()
    if sys.version_info < _PYTHON:
        return fail("python", seen, "use Python 3.11 or newer")
    return ok("python", seen)


def _rq() -> Finding:
    found = version("rq")
    if not found.startswith(TESTED_RQ):
        remedy = f"pip install 'rq=={TESTED_RQ}*', or run the tests of tests/faults"
        return warn("rq", f"{found}; tested with {TESTED_RQ}x", remedy)
    return ok("rq", found)


def _pins(constraints: Path) -> Iterator[Finding]:
    if not constraints.is_file():
        why = "no constraints.txt beside the program, as in an image"
        yield unknown("packages", why, "images are built from it")
        return
    wanted: dict[str, set[str]] = {}
    for name, pinned in _PIN.findall(constraints.read_text(encoding="utf-8")):
        wanted.setdefault(name, set()).add(pinned)
    other = [
        f"{name} {found}"
        for name, pins in wanted.items()
        if (found := _installed(name)) is not None and found not in pins
    ]
    if other:
        seen = f"not the tested versions: {', '.join(other)}"
        remedy = "make .venv/.run in the checkout, or list_requirements.py in deploy"
        yield warn("packages", seen, f"{remedy}: they install what {constraints} pins")
        return
    yield ok("packages", f"as in {constraints}")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _tensorflow() -> Finding:
    if find_spec("tensorflow") is None:
        return ok("tensorflow", "not installed: needed for training and kennel up only")
    return ok("tensorflow", _installed("tensorflow") or "installed")


def _redis_program() -> Iterator[Finding]:
    try:
        program = redis_server_program()
    except InvalidRequestError:
        return  # as in an image: nothing is started here
    name, number = program_version(program) or ("", "")
    if name:
        found = judge_version({f"{name.lower()}_version": number})
        seen = f"{program}: {found.seen}"
        yield replace(found, check="redis-server", seen=seen)


def _processors(web_workers: int) -> Finding:
    count = usable_processors()
    seen = f"{count} processors for {web_workers} API processes"
    if web_workers > 2 * count:
        return warn("processors", seen, "lower WEB_WORKERS")
    return ok("processors", seen)


def _memory(web_workers: int) -> Finding:
    free = _free_megabytes()
    if free is None:
        return unknown("memory", "no /proc/meminfo", "see the machine's own tools")
    need = web_workers * API_MEGABYTES + WORKER_MEGABYTES
    seen = f"{free:.0f} MB free; API and one worker need {need} MB, models theirs"
    if free < need:
        return warn("memory", seen, "lower WEB_WORKERS or WORKERS, or add memory")
    return ok("memory", seen)


def _free_megabytes() -> float | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    free = int(found[1]) / 1000 if found else None
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free  # no limit, or an older kernel
    return min((limit - used) / 1e6, free or limit / 1e6)


def _shared_memory(folder: Path) -> Finding:
    if not os.access(folder, os.W_OK):
        remedy = "mount a tmpfs: gunicorn's signs of life are files, and a disk is slow"
        return warn("shared memory", f"{folder} cannot be written", remedy)
    return ok("shared memory", f"{folder} can be written")
