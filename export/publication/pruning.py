"""Old versions go, all at once: renamed to what servers skip, then deleted.

Never one that is loaded, labelled, among the newest, or pinned by an unfinished job.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.publication.listing import folder_size
from export.publication.served import locked, served_model
from models.errors import ConflictError
from models.storage import TEMPORARY_PREFIX, sync_path, temporary_beside

ABANDONED_SECONDS: Final = 24 * 3600.0
"""An unfinished file or folder that is not known to be an export's: perhaps somebody is
still copying it."""

_EXPORT: Final = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9]+-[0-9a-f]{12}")


@dataclass(frozen=True)
class PrunePlan:
    """What goes and what stays.

    Attributes:
        removed: version -> its size in bytes.
        kept: version -> why it stays.
        leftovers: unfinished folders and files -> their size in bytes.
    """

    removed: Mapping[int, int]
    kept: Mapping[int, str]
    leftovers: Mapping[Path, int]


def prune(
    models_dir: Path,
    name: str,
    keep: int,
    pinned: Mapping[int, str],
    dry_run: bool = False,
) -> PrunePlan:
    """Remove old versions of a model, and what killed exports left; returns what went.

    *pinned* names an unfinished job for each version that one is pinned to.

    Raises:
        NotFoundError, InvalidRequestError: as `served_model`.
        ConflictError: an export of the model is under way.
        OSError: the folder cannot be written.
    """
    served_model(models_dir, name)
    base = models_dir / name
    message = f"an export into {base} is under way: prune again when it is done"
    with locked(base, busy=ConflictError(message)), locked(models_dir):
        plan = _plan(models_dir, name, keep, pinned)
        if not dry_run:
            _carry_out(plan, base)
    return plan


def remove_dead_exports(base: Path) -> None:
    """Delete what killed exports left in *base*; the caller holds its lock."""
    for path in _leftovers(base):
        if _EXPORT.fullmatch(path.name):
            _remove(path)


def _plan(
    models_dir: Path, name: str, keep: int, pinned: Mapping[int, str]
) -> PrunePlan:
    entry, versions = served_model(models_dir, name)
    base = models_dir / name
    kept = {version: f"needed by job {job}" for version, job in pinned.items()}
    kept |= {version: f"labelled {label}" for label, version in entry.labels}
    kept |= dict.fromkeys(entry.loaded(versions), "served")
    kept |= dict.fromkeys(versions[:keep], f"among the newest {keep}")
    going = [each for each in versions if each not in kept]
    leftovers = [*_leftovers(base), *_leftovers(models_dir)]
    return PrunePlan(
        removed={each: folder_size(base / str(each)) for each in going},
        kept={each: kept[each] for each in versions if each in kept},
        leftovers={each: _size(each) for each in leftovers},
    )


def _carry_out(plan: PrunePlan, base: Path) -> None:
    hidden = {
        base / str(each): temporary_beside(base / str(each)) for each in plan.removed
    }
    for path, name in hidden.items():
        path.rename(name)
    sync_path(base)
    for path in [*plan.leftovers, *hidden.values()]:
        _remove(path)


def _leftovers(base: Path) -> list[Path]:
    found = base.glob(f"{TEMPORARY_PREFIX}*")
    return sorted(each for each in found if _is_abandoned(each))


def _is_abandoned(path: Path) -> bool:
    # Who holds the lock knows that no export lives; of other copies only age tells.
    if _EXPORT.fullmatch(path.name):
        return True
    return time.time() - path.lstat().st_mtime > ABANDONED_SECONDS


def _size(path: Path) -> int:
    return folder_size(path) if path.is_dir() else path.lstat().st_size


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
