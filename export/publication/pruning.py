"""Pruning of versions and removal of models: hidden from servers, then deleted.

Pruning never removes a version that is loaded, labelled, among the newest, or pinned by
an unfinished job. Removing takes a whole model; its version numbers are never used again:
finished jobs name them, and API processes keep cards by name and version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.publication.published import folder_size
from export.publication.served import (
    change_rollout,
    check_closed,
    find_rollout,
    locked,
    read_served,
    served_model,
    write_served,
)
from models.errors import ConflictError, InvalidRequestError, KennelError
from models.files import (
    TEMPORARY_PREFIX,
    parse_json,
    sync_path,
    temporary_beside,
    write_atomically,
)
from models.wire.config import ModelEntry, published_versions

REMOVED_FILE: Final = "removed.json"
"""The newest version number of each model that was removed."""

ABANDONED_SECONDS: Final = 24 * 3600.0
"""Age from which an unfinished file or folder of unknown origin counts as abandoned: until
then somebody may still be copying it."""

_EXPORT: Final = re.compile(re.escape(TEMPORARY_PREFIX) + r"[0-9]+-[0-9a-f]{12}")


@dataclass(frozen=True)
class PrunePlan:
    """Versions and leftovers that pruning removes, and versions that it keeps.

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
    """Remove old versions of a model and leftovers of killed exports; returns which.

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


def remove_model(
    models_dir: Path, name: str, check_needed: Callable[[], None]
) -> list[int]:
    """Remove the model *name* with all its versions; returns these, newest first.

    The model is taken out of models.config, its folder is renamed, and then *check_needed*
    is called: if that raises, the model is put back as it was. After a crash the model is
    either served or gone, and the next `prune` deletes its hidden folder.

    Raises:
        NotFoundError, InvalidRequestError: as `served_model`.
        ConflictError: a rollout of the model goes on, or an export of it.
        KennelError: what *check_needed* raises.
        OSError: the folder cannot be written.
    """
    served_model(models_dir, name)
    base = models_dir / name
    message = f"an export of {name} is under way: remove it when that is done"
    with locked(base, busy=ConflictError(message)), locked(models_dir):
        _, versions = served_model(models_dir, name)
        check_closed(find_rollout(models_dir, name))
        before = read_served(models_dir)
        _remember_numbers(models_dir, name)
        write_served(models_dir, {k: v for k, v in before.items() if k != name})
        # `prune` deletes old hidden folders: this one has to look new until it is deleted.
        os.utime(base)
        hidden = temporary_beside(base)
        base.rename(hidden)
        sync_path(models_dir)
    try:
        check_needed()
    except (KennelError, OSError, KeyboardInterrupt):
        _put_back(models_dir, name, hidden, list(before.values()))
        raise
    change_rollout(models_dir, name, lambda _: None)
    _remove(hidden)
    return versions


def next_version(models_dir: Path, name: str) -> int:
    """The number of the model's next version, which no version ever had.

    Raises:
        InvalidRequestError: removed.json is broken.
    """
    known = published_versions(models_dir / name)
    last = _read_removed(models_dir / REMOVED_FILE).get(name, 0)
    return max(last, *known, 0) + 1


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
    # The caller holds the lock, so no export is running; of other copies the age decides.
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


def _remember_numbers(models_dir: Path, name: str) -> None:
    path = models_dir / REMOVED_FILE
    removed = {**_read_removed(path), name: next_version(models_dir, name) - 1}
    write_atomically(path, json.dumps({"removed": removed}, indent=2) + "\n")


def _read_removed(path: Path) -> dict[str, int]:
    try:
        removed = parse_json(path.read_text(encoding="utf-8"))["removed"]
        return {str(name): int(number) for name, number in removed.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = (
            f"{path} does not say which version numbers were used ({error}): restore "
            "it from a backup, or remove it if no model of it is to be exported again"
        )
        raise InvalidRequestError(message) from error


def _put_back(
    models_dir: Path, name: str, hidden: Path, before: list[ModelEntry]
) -> None:
    with locked(models_dir):
        base = models_dir / name
        if base.exists():
            message = (
                f"{name} was exported again while it was removed, and a job needs the "
                f"version before: it lies in {hidden}"
            )
            raise ConflictError(message)
        hidden.rename(base)
        sync_path(models_dir)
        now = read_served(models_dir)
        order = [each.name for each in before if each.name in now]
        entries = {**now, name: next(each for each in before if each.name == name)}
        names = dict.fromkeys([*order, *now])
        write_served(models_dir, {each: entries[each] for each in names})
