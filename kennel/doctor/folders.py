"""The folders that jobs live in: there, writable, local, with room."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kennel.doctor.deployment import Deployment
from kennel.doctor.finding import Finding, fail, ok, unknown, warn

_GIGABYTE: Final = 1_000_000_000
LITTLE_BYTES: Final = 2 * _GIGABYTE
TOO_LITTLE_BYTES: Final = _GIGABYTE // 5
MIN_FILES: Final = 10_000
"""A job leaves a few files for each 128 images."""

REMOTE: Final = ("nfs", "cifs", "smb", "9p", "fuse.", "ceph", "lustre", "gluster")


def check_folders(deployment: Deployment) -> Iterator[Finding]:
    """RUNS_DIR, INPUT_ROOT and the disk of MODELS_DIR."""
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


def _writable(runs_dir: Path) -> Finding:
    if not runs_dir.exists():
        parent = next(each for each in runs_dir.parents if each.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return ok("runs", f"{runs_dir} will be made by the first job")
        return fail("runs", f"{runs_dir} cannot be made in {parent}", "set RUNS_DIR")
    if not os.access(runs_dir, os.R_OK | os.W_OK | os.X_OK):
        remedy = f"give it to the user of the processes (here: uid {os.getuid()})"
        return fail("runs", f"{runs_dir} cannot be written", remedy)
    return ok("runs", f"{runs_dir} can be written")


def _local(folder: Path) -> Finding:
    kind = file_system(folder)
    if kind is None:
        return unknown("runs disk", "no /proc/self/mountinfo", "use a local disk")
    if kind.startswith(REMOTE):
        remedy = "use a local disk: locks and durable renames are not promised there"
        return warn("runs disk", f"{folder} is on {kind}", remedy)
    return ok("runs disk", f"{kind}, local")


def file_system(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The kind of the file system that holds *folder*; None: it cannot be told."""
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


def _locks(folder: Path) -> Finding:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return ok("runs locks", "flock works")
    except OSError as error:
        remedy = "use a local disk: two ends of one job could be written"
        return fail("runs locks", f"flock does not work ({error.strerror})", remedy)
    finally:
        os.close(descriptor)
    return ok("runs locks", "flock works")


def _room(check: str, folder: Path, consequence: str) -> Finding:
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


def _input(input_root: Path) -> Finding:
    if not input_root.is_dir():
        remedy = "make it, or set INPUT_ROOT; uploads work without"
        return warn("input", f"{input_root} is not there", remedy)
    if not os.access(input_root, os.R_OK | os.X_OK):
        return fail("input", f"{input_root} cannot be read", "chmod a+rX it")
    return ok("input", f"{input_root} can be read")
