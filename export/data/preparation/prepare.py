"""`kennel prepare`: new, already there, interrupted, or to be made anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.data.manifest import (
    MANIFEST_FILE,
    PLAN_FILE,
    Manifest,
    check_files,
    read_manifest,
)
from export.data.preparation.building import build
from export.data.preparation.plan import read_plan
from export.data.preparation.refusals import (
    check_empty,
    check_places,
    check_same_source,
    check_strict,
    differing_options,
    other_options,
)
from export.data.preparation.request import PrepareRequest
from export.data.preparation.space import check_space
from export.data.preparation.survey import Before, survey
from export.data.sources.archives import Archives
from export.progress import Progress
from models.errors import ConflictError
from models.files import locked_folder


@dataclass(frozen=True)
class Prepared:
    """The prepared folder; ``changed`` is false if it was there already."""

    folder: Path
    manifest: Manifest
    changed: bool


def prepare(request: PrepareRequest, progress: Progress) -> Prepared:
    """Make, or complete, or verify the folder that *request* asks for.

    Killed at any moment, it completes when called again; no file is ever lost.

    Raises:
        InvalidRequestError: one folder lies in the other.
        ConflictError: the destination holds something else, or is being made just now.
        StrictError: the request is strict and there are findings.
        DatasetError: the photos, or the disk, do not allow it.
        NotFoundError: there is no source.
    """
    check_places(request)
    dest = request.dest
    with Archives(_existing_parent(dest), request.reading.encoding) as archives:
        before = _resume(request, archives, progress) or _before(request)
        if isinstance(before, Prepared):
            return before
        plan = survey(request, archives, progress, before)
        check_strict(request, plan.manifest)
        check_space(dest, list(plan.steps(dest)))
        dest.mkdir(parents=True, exist_ok=True)
        with locked_folder(dest, busy=_busy(dest)):
            if read_plan(dest) is not None:
                raise _busy(dest)
            plan.write(dest)
            build(dest, plan, archives, progress)
    return Prepared(dest, plan.manifest, changed=True)


def _resume(
    request: PrepareRequest, archives: Archives, progress: Progress
) -> Prepared | None:
    if read_plan(request.dest) is None:
        return None
    with locked_folder(request.dest, busy=_busy(request.dest)):
        plan = read_plan(request.dest)
        if plan is None:  # whoever held the lock has finished it
            return None
        same = not differing_options(request, plan.manifest)
        if not same and not request.force:
            raise other_options(request, plan.manifest, "was interrupted while made")
        build(request.dest, plan, archives, progress)
    return Prepared(request.dest, plan.manifest, changed=True) if same else None


def _before(request: PrepareRequest) -> Prepared | Before | None:
    dest = request.dest
    if not (dest / MANIFEST_FILE).exists():
        check_empty(dest)
        return None
    manifest = read_manifest(dest)
    if request.force:
        check_same_source(request, manifest)
        return Before(manifest, _free_name(dest))
    if differing_options(request, manifest):
        raise other_options(request, manifest, "was prepared")
    check_files(dest, manifest.files)
    check_strict(request, manifest)
    return Prepared(dest, manifest, changed=False)


def _free_name(dest: Path) -> str:
    number = 1
    while (dest / f"previous-{number}").exists():
        number += 1
    return f"previous-{number}"


def _existing_parent(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.is_dir())


def _busy(dest: Path) -> ConflictError:
    message = f"another kennel prepare is at work on {dest} ({PLAN_FILE}): wait for it"
    return ConflictError(message)
