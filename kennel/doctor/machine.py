"""Checks of this machine: Python, packages, memory, folders, secret files."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import kennel
from kennel.doctor.deployment import CheckResult, Deployment, fail, ok, unknown, warn
from kennel.doctor.redis import judge_version
from kennel.stack.redis import program_version, redis_server_program
from models.environment import usable_processors
from models.errors import InvalidRequestError
from models.files import try_lock

TESTED_RQ: Final = "2.12."
"""Workers rely on RQ's internals (worker.process, worker.stuck)."""

WORKER_MEGABYTES: Final = 150
API_MEGABYTES: Final = 110
_PYTHON: Final = (3, 11)
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_CGROUP: Final = Path("/sys/fs/cgroup")

_GIGABYTE: Final = 1_000_000_000
LITTLE_BYTES: Final = 2 * _GIGABYTE
TOO_LITTLE_BYTES: Final = _GIGABYTE // 5
MIN_FILES: Final = 10_000
"""A job leaves a few files for each 128 images."""

REMOTE: Final = ("nfs", "cifs", "smb", "9p", "fuse.", "ceph", "lustre", "gluster")
_OTHERS_WRITE: Final = 0o002
_OTHERS_READ: Final = 0o004


def check_machine(deployment: Deployment) -> Iterator[CheckResult]:
    """Checks of Python, packages, Redis's program, processors and memory."""
    yield _python()
    yield _rq()
    yield from _pins(Path(kennel.__file__).parents[1] / "constraints.txt")
    yield _tensorflow()
    yield from _redis_program()
    yield _processors(deployment.service.web_workers)
    yield _memory(deployment.service.web_workers)
    yield _shared_memory(Path("/dev/shm"))


def _python() -> CheckResult:
    seen = platform.python_version()
    if sys.version_info < _PYTHON:
        return fail("python", seen, "use Python 3.11 or newer")
    return ok("python", seen)


def _rq() -> CheckResult:
    found = version("rq")
    if not found.startswith(TESTED_RQ):
        remedy = f"pip install 'rq=={TESTED_RQ}*', or run the tests of tests/faults"
        return warn("rq", f"{found}; tested with {TESTED_RQ}x", remedy)
    return ok("rq", found)


def _pins(constraints: Path) -> Iterator[CheckResult]:
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
        remedy = (
            "make .venv/.run in the checkout, or deploy/images/list_requirements.py"
        )
        yield warn("packages", seen, f"{remedy}: they install what {constraints} pins")
        return
    yield ok("packages", f"as in {constraints}")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _tensorflow() -> CheckResult:
    found = find_spec("tensorflow")
    # An image has TensorFlow's message modules alone: a package without __init__.py.
    if found is None or found.origin is None:
        return ok("tensorflow", "not installed: needed for training and kennel up only")
    return ok("tensorflow", _installed("tensorflow") or "installed")


def _redis_program() -> Iterator[CheckResult]:
    try:
        program = redis_server_program()
    except InvalidRequestError:
        return  # as in an image: nothing is started here
    name, number = program_version(program) or ("", "")
    if name:
        found = judge_version({f"{name.lower()}_version": number})
        seen = f"{program}: {found.seen}"
        yield replace(found, check="redis-server", seen=seen)


def _processors(web_workers: int) -> CheckResult:
    count = usable_processors()
    seen = f"{count} processors for {web_workers} API processes"
    if web_workers > 2 * count:
        return warn("processors", seen, "lower WEB_WORKERS")
    return ok("processors", seen)


def _memory(web_workers: int) -> CheckResult:
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


def _shared_memory(folder: Path) -> CheckResult:
    if not os.access(folder, os.W_OK):
        remedy = "mount a tmpfs: gunicorn's signs of life are files, and a disk is slow"
        return warn("shared memory", f"{folder} cannot be written", remedy)
    return ok("shared memory", f"{folder} can be written")


def check_folders(deployment: Deployment) -> Iterator[CheckResult]:
    """Checks of RUNS_DIR, INPUT_ROOT and the disk of MODELS_DIR."""
    runs_dir = deployment.worker.runs_dir
    yield _writable(runs_dir)
    there = next(each for each in (runs_dir, *runs_dir.parents) if each.exists())
    yield _local(there)
    yield _locks(there)
    yield _room("runs room", there, "jobs wait or fail when it is full")
    yield _input(deployment.worker.input_root)
    models_dir = deployment.home.models_dir
    there = next(each for each in (models_dir, *models_dir.parents) if each.exists())
    yield _room("models room", there, "nothing can be published when it is full")


def _writable(runs_dir: Path) -> CheckResult:
    if not runs_dir.exists():
        parent = next(each for each in runs_dir.parents if each.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return ok("runs", f"{runs_dir} will be made by the first job")
        return fail("runs", f"{runs_dir} cannot be made in {parent}", "set RUNS_DIR")
    if not os.access(runs_dir, os.R_OK | os.W_OK | os.X_OK):
        remedy = f"give it to the user of the processes (here: uid {os.getuid()})"
        return fail("runs", f"{runs_dir} cannot be written", remedy)
    return ok("runs", f"{runs_dir} can be written")


def _local(folder: Path) -> CheckResult:
    kind = file_system(folder)
    if kind is None:
        return unknown("runs disk", "no /proc/self/mountinfo", "use a local disk")
    if kind.startswith(REMOTE):
        remedy = "use a local disk: locks and durable renames are not promised there"
        return warn("runs disk", f"{folder} is on {kind}", remedy)
    return ok("runs disk", f"{kind}, local")


def file_system(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The kind of the file system that holds *folder*; None: not known."""
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found, kind = -1, None
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = Path(before.split()[4].replace("\\040", " "))
        if folder.resolve().is_relative_to(mount) and len(mount.parts) >= found:
            found, kind = len(mount.parts), after.split()[0]
    return kind


def _locks(folder: Path) -> CheckResult:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try_lock(descriptor, fcntl.LOCK_SH)  # fails without an error if others hold it
    except OSError as error:
        remedy = "use a local disk: two ends of one job could be written"
        return fail("runs locks", f"flock does not work ({error.strerror})", remedy)
    finally:
        os.close(descriptor)
    return ok("runs locks", "flock works")


def _room(check: str, folder: Path, consequence: str) -> CheckResult:
    free, files = shutil.disk_usage(folder).free, os.statvfs(folder)
    seen = f"{free / _GIGABYTE:.1f} GB free"
    remedy = f"make room: {consequence}"
    # Some file systems count no files.
    if files.f_files and files.f_favail < MIN_FILES:
        return fail(check, f"{seen}, {files.f_favail} more files", remedy)
    if free < TOO_LITTLE_BYTES:
        return fail(check, seen, remedy)
    if free < LITTLE_BYTES:
        return warn(check, seen, remedy)
    return ok(check, seen)


def _input(input_root: Path) -> CheckResult:
    if not input_root.is_dir():
        remedy = "make it, or set INPUT_ROOT; uploads work without"
        return warn("input", f"{input_root} is not there", remedy)
    if not os.access(input_root, os.R_OK | os.X_OK):
        return fail("input", f"{input_root} cannot be read", "chmod a+rX it")
    return ok("input", f"{input_root} can be read")


def check_secrets(deployment: Deployment) -> Iterator[CheckResult]:
    """Checks of the modes of all secret files."""
    found = [each for each in _secret_files(deployment) if each.is_file()]
    for path in found:
        yield _mode(path)
    if not found:
        yield ok("files", "there are none")


def _secret_files(deployment: Deployment) -> Iterator[Path]:
    redis = deployment.home.home / "redis"
    yield from (redis / "password", redis / "redis.conf")
    keys = deployment.service.auth.api_keys_file
    yield keys or deployment.home.home / "api-keys"
    yield Path(".env").absolute()
    kaggle = Path(deployment.env.get("KAGGLE_CONFIG_DIR") or "~/.kaggle")
    yield kaggle.expanduser() / "kaggle.json"


def _mode(path: Path) -> CheckResult:
    mode = stat.S_IMODE(path.stat().st_mode)
    seen, remedy = f"mode {mode:o}", f"chmod o= {path}"
    if mode & _OTHERS_WRITE:
        return fail(str(path), f"{seen}: every user may change it", remedy)
    if mode & _OTHERS_READ:
        return warn(str(path), f"{seen}: every user may read it", remedy)
    return ok(str(path), seen)
