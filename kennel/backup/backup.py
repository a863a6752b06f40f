"""Makes a backup while jobs run: a new folder each time, complete or not there.

A backup of another installation, or of one whose disk is not mounted, must not push the
good ones out: what is to be backed up is first compared with the last sound backup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from kennel.backup.copying import is_plain
from kennel.backup.draft import Draft, Tally, VanishedError
from kennel.backup.listing import Seen, read_listing
from kennel.backup.shelf import Shelf
from kennel.backup.units import find_units, is_photo, nothing_there
from models.errors import ConflictError, InvalidRequestError, KennelError
from models.files import explained_full_disk, fingerprint_file

ATTEMPTS: Final = 5
"""So often it is begun anew because something was deleted that was half copied."""

_MUCH_SMALLER: Final = 2
"""So many times fewer files or bytes than before are taken for a loss."""

_MEGABYTE: Final = 1e6

_Census: TypeAlias = dict[str, Seen | None]
"""What each file looks like, by its path in a backup; a job's photos left out."""


class SmallerBackupError(KennelError):
    """A backup was made that has far less than the last one; no other was removed."""

    code = "smaller_backup"


@dataclass(frozen=True)
class Backup:
    """A backup that was made.

    Attributes:
        loss: what it lacks beside the last sound one, as a sentence; empty: it is sound.
        without: the roots that have no file.
        removed: names of the older ones that were removed.
    """

    folder: Path
    tally: Tally
    loss: str
    without: list[str]
    removed: list[str]


def make_backup(
    target: Path,
    roots: Mapping[str, Path],
    *,
    full: bool = False,
    accept: bool = False,
    keep: int | None = None,
) -> Backup:
    """Put a new backup of *roots* (``models``, ``runs``) into *target*.

    It appears complete or not at all; what a killed one copied is used again. If *full*,
    every file is read and copied, whatever earlier backups have. If it has far less than
    the last sound one it is kept, but none is removed; else those older than the newest
    *keep* are. With *accept* there is no comparison: this is the home from now on.

    Raises:
        InvalidRequestError: *target* cannot hold it; there is nothing to back up, or it
            is another home than that of the backups in *target*.
        ConflictError: another backup is being made there, or too much is deleted now.
        StorageFullError: the disk of *target* is full; what is copied stays for the
            next attempt.
        OSError: something cannot be read or written.
    """
    _check_apart(target, roots)
    shelf = Shelf(target)
    census = _take_census(roots)
    if not census:
        raise nothing_there(roots)
    without = [name for name in roots if not _below(name, census)]
    with explained_full_disk("the backups"), shelf.held():
        last = None if accept else _last_sound(shelf)
        loss = _find_loss(census, last, roots) if last else ""
        smaller_than = last.folder.name if last and loss else ""
        made = _fill(shelf, roots, smaller_than, full=full)
        folder = shelf.publish(made.folder)
        removed = shelf.keep_newest(keep) if keep and not loss else []
    return Backup(folder, made.tally, loss, without, removed)


def _fill(
    shelf: Shelf, roots: Mapping[str, Path], smaller_than: str, *, full: bool
) -> Draft:
    for _ in range(ATTEMPTS):
        # Drafts are left where they are: the next one links what they have.
        draft = Draft(shelf.new_draft(), {} if full else shelf.copies())
        try:
            draft.take(roots, smaller_than=smaller_than)
        except VanishedError:
            continue
        return draft
    message = f"jobs or versions were deleted during each of {ATTEMPTS} attempts"
    raise ConflictError(f"{message}: try again when fewer are deleted")


def _check_apart(target: Path, roots: Mapping[str, Path]) -> None:
    for root in roots.values():
        if target.resolve().is_relative_to(root.resolve()):
            message = f"{target} lies in {root}, which is to be backed up"
            raise InvalidRequestError(f"{message}: name a folder on another disk")


@dataclass(frozen=True)
class _Last:
    folder: Path
    census: _Census


def _last_sound(shelf: Shelf) -> _Last | None:
    for folder in shelf.sound():
        try:
            entries = read_listing(folder)
        except InvalidRequestError:
            continue  # its list is damaged
        files = (each for each in entries if not each.is_folder)
        return _Last(folder, {e.path: e.seen for e in files if not is_photo(e.path)})
    return None


def _find_loss(census: _Census, last: _Last, roots: Mapping[str, Path]) -> str:
    for name, root in roots.items():
        lost = _below(name, last.census)
        if lost and not _below(name, census):
            message = f"{root} has no files, and the last backup ({last.folder}) has "
            remedy = "see that its disk is mounted, or, if it was emptied on purpose,"
            raise InvalidRequestError(f"{message}{lost} of it: {remedy} add --accept")
    foreign = _find_foreign(census, last, roots)
    if foreign:
        where = " and ".join(map(str, foreign))
        message = f"{where} and the last backup ({last.folder}) have no file in common"
        remedy = "name another TARGET if this is another installation, else --accept"
        raise InvalidRequestError(f"{message}: {remedy}")
    return _describe_loss(census, last)


def _find_foreign(
    census: _Census, last: _Last, roots: Mapping[str, Path]
) -> list[Path]:
    shared = {path for path in census if _is_same(last.census.get(path), census[path])}
    if not shared:
        return list(roots.values())
    # Jobs come and go until none is left of the last backup's; but what is older than
    # that backup would be in it.
    moment = max(seen[0] for seen in last.census.values() if seen)
    older = {path for path, seen in census.items() if seen and seen[0] < moment}
    return [
        root
        for name, root in roots.items()
        if _below(name, last.census) and _below(name, older)
        if not _below(name, shared)
    ]


def _describe_loss(census: _Census, last: _Last) -> str:
    files, size = len(census), _total(census)
    files_before, size_before = len(last.census), _total(last.census)
    if max(files_before / files, size_before / max(size, 1)) <= _MUCH_SMALLER:
        return ""
    return (
        f"{files} files ({size / _MEGABYTE:.1f} MB) where {last.folder.name} has "
        f"{files_before} ({size_before / _MEGABYTE:.1f} MB), photos of jobs not counted"
    )


def _take_census(roots: Mapping[str, Path]) -> _Census:
    return {
        path: fingerprint_file(source)
        for unit in find_units(roots)
        for path, source in unit.contents()
        if not (path.endswith("/") or is_photo(path)) and _is_file(source)
    }


def _is_file(source: Path) -> bool:
    try:
        return is_plain(source)
    except FileNotFoundError:
        return False  # deleted since it was listed


def _is_same(before: Seen | None, seen: Seen | None) -> bool:
    # Not the inode: a restored file has another one.
    return before is not None and seen is not None and before[:2] == seen[:2]


def _below(name: str, paths: Iterable[str]) -> int:
    return sum(path.startswith(f"{name}/") for path in paths)


def _total(census: _Census) -> int:
    return sum(seen[1] for seen in census.values() if seen)
