"""Backups of models and runs: one tar archive each, made while jobs run.

An archive appears complete or not at all, and ends with `SHA256SUMS`: ``tar xf`` and
``sha256sum -c`` read it without Kennel. Redis is not in it: the reconciler fills an
empty Redis from the runs. A backup of another installation, or of a disk that is not
mounted, must not replace good ones, so each is first compared with the last sound
backup.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeAlias

from models import VERSION
from models.errors import (
    ConflictError,
    InvalidRequestError,
    KennelError,
    NotFoundError,
)
from models.files import (
    TEMPORARY_PREFIX,
    explained_full_disk,
    locked_file,
    locked_folder,
    open_atomically,
    parse_json,
    sync_path,
    temporary_beside,
)
from worker.reconciler import LOCK_NAME

SUMS: Final = "SHA256SUMS"
_MOMENT: Final = "%Y-%m-%dT%H%M%S.%fZ"
_OURS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z(\.tar)?|lost\+found")
"""Names in a folder of backups: archives, older versions' folders, a disk's own."""

_UNITS_BELOW: Final = re.compile(r"models(/[^/]+)?|runs(/train)?")
"""Parents of versions, jobs and training runs, each copied whole or not at all."""

_PHOTOS: Final = re.compile(r"runs/(?!train/)[^/]+/photos/")
_LOCKS: Final = frozenset({".lock", LOCK_NAME})
_ENDS: Final = (
    *("report.json", "failed.json", "cancelled"),
    *("submission.csv", "scores.json"),
)
"""Files that a job writes last are copied first: the copy of a running job then looks
like one after a crash, which workers resume."""

_MUCH_SMALLER: Final = 2
"""A backup with so many times fewer files or bytes than the last one has lost some."""

_MEGABYTE: Final = 1e6
_CHUNK_BYTES: Final = 1024 * 1024
_NAMED: Final = 3

Roots: TypeAlias = Mapping[str, Path]
"""MODELS_DIR and RUNS_DIR by the folders that they have in an archive."""

_Census: TypeAlias = dict[str, tuple[float, int]]
"""Time of change and size of each file by its path in an archive, jobs' photos apart."""


class SmallerBackupError(KennelError):
    """The new backup has far less than the last one; no older one was removed."""

    code = "smaller_backup"


class DamagedBackupError(KennelError):
    """An archive cannot be read, or its content has other sha256 sums."""

    code = "damaged_backup"


@dataclass(frozen=True)
class Backup:
    """A backup that was made.

    Attributes:
        skipped: links, pipes and the like, which are not backed up.
        loss: a sentence if it has far less than the last sound backup; else empty.
        without: the roots that have no files.
        removed: names of the older backups that were removed.
    """

    archive: Path
    files: int
    size: int
    skipped: list[str]
    loss: str
    without: list[str]
    removed: list[str]


@dataclass(frozen=True)
class ArchiveContents:
    """What an archive holds.

    Attributes:
        smaller_than: the last sound backup, if this one has far less; else empty.
        damage: a sentence for each missing file and each with another sha256.
    """

    created: str
    version: str
    smaller_than: str
    files: int
    size: int
    damage: list[str]


def make_backup(
    target: Path, roots: Roots, *, accept: bool = False, keep: int | None = None
) -> Backup:
    """Put a new backup of *roots* (``models``, ``runs``) into the folder *target*.

    All but the newest *keep* sound backups are removed, unless the new one has far less
    than the last sound one. With *accept* they are not compared.

    Raises:
        InvalidRequestError: *target* cannot hold a backup; there is nothing to back up;
            or *roots* belong to another installation than the backups in *target*.
        ConflictError: another backup is being made there.
        StorageFullError: the disk of *target* is full.
        OSError: something cannot be read or written.
    """
    for root in roots.values():
        if target.resolve().is_relative_to(root.resolve()):
            message = f"{target} lies in {root}, which is to be backed up"
            raise InvalidRequestError(f"{message}: name a folder on another disk")
    with explained_full_disk("the backups"), _locked_target(target):
        last = None if accept else next(_sound(target), None)
        loss = _find_loss(roots, last)
        archive = target / datetime.now(UTC).strftime(f"{_MOMENT}.tar")
        with open_atomically(archive) as stream:
            written = _Writer(stream, smaller_than=last.name if last and loss else "")
            for name, root in roots.items():
                written.take(name, root)
            written.close()
        removed = [] if keep is None or loss else _keep_newest(target, keep)
    files, size = len(written.entries), sum(each.size for each in written.entries)
    without = [
        name
        for name in roots
        if not _count(name, (each.path for each in written.entries))
    ]
    return Backup(archive, files, size, written.skipped, loss, without, removed)


def find_backup(place: Path, *, sound: bool = False) -> Path:
    """*place* itself if it is a file, else the newest archive in the folder *place*.

    Raises:
        NotFoundError: there is none.
        ConflictError: *sound* is set, and the newest is suspiciously small.
        DamagedBackupError: *sound* is set, and the newest cannot be read.
    """
    if place.is_file():
        return place
    if (place / "backup.json").exists():
        message = f"{place} is from an earlier version of kennel: copy its folders"
        raise NotFoundError(f"{message} models and runs into place (cp -a)")
    archives = _archives(place)
    if not archives:
        message = f"there is no complete backup in {place}: kennel backup {place}"
        raise NotFoundError(message)
    if sound and _head(archives[0])["smaller_than"]:
        message = f"the newest backup, {archives[0]}, has far less than those before it"
        last = next(_sound(place), archives[0])
        raise ConflictError(f"{message}: name the one to restore, such as {last}")
    return archives[0]


def read_backup(archive: Path, staged: Roots | None = None) -> ArchiveContents:
    """Read all of *archive* and compare its sums; unpack it into *staged*, if given.

    Raises:
        DamagedBackupError: the archive cannot be read to its end, or has no files.
        InvalidRequestError: it holds other folders than models and runs.
        OSError: a folder cannot be written.
    """
    head, found = _head(archive), []
    stored: list[str] | None = None
    with _opened(archive) as tar:
        for member, stream in _members(tar):
            if member.name == SUMS and stream:
                text = stream.read().decode(errors="surrogateescape")
                stored = text.splitlines()
                continue
            target = _place(archive, member.name, staged or {})
            if stream is not None:
                digest = _copy(member, stream, target)
                found.append(_Entry(member.name, member.size, digest))
            elif target is not None:
                target.mkdir(parents=True, exist_ok=True)
    if stored is None:
        raise _unreadable(archive, f"it ends before {SUMS}")
    if not found:
        message = f"{archive} has no files: nothing can be restored from it"
        raise DamagedBackupError(f"{message}; see what kennel backup is made of")
    size, damage = sum(each.size for each in found), _damage(stored, found)
    return ArchiveContents(**head, files=len(found), size=size, damage=damage)


def restore_backup(
    archive: Path, roots: Roots, *, replace: bool = False
) -> ArchiveContents:
    """Put the *archive* into the folders *roots* (``models``, ``runs``, or one of them).

    Every file is unpacked beside the folders, and its sha256 compared, before the first
    rename. With *replace*, the old content of the folders is removed then.

    Raises:
        InvalidRequestError: the archive has no files for *roots*.
        ConflictError: a folder is not empty, and *replace* is false or the archive has
            nothing for it; or a reconciler is at work.
        DamagedBackupError: a file has another sha256; nothing was changed.
        StorageFullError: the disk is full; nothing was changed.
        OSError: a folder cannot be written.
    """
    for root in roots.values():
        if not replace and (there := sorted(each.name for each in _visible(root))):
            named = ", ".join(there[:_NAMED])
            message = f"{root} is not empty ({named}): restore into another KENNEL_HOME"
            raise ConflictError(f"{message}, or replace what is there with --force")
    with explained_full_disk("the restored files"), ExitStack() as held:
        staged = {name: held.enter_context(_staging(roots[name])) for name in roots}
        contents = read_backup(archive, staged)
        if contents.damage:
            message = f"{archive}: {contents.damage[0]}; nothing was restored"
            raise DamagedBackupError(f"{message}: use an older backup")
        _check_worth(archive, staged, roots)
        os.sync()
        if "runs" in roots:
            held.enter_context(_without_reconciler(roots["runs"]))
        for name in roots:
            _take_place(staged[name], roots[name])
    return contents


class _Entry(NamedTuple):
    path: str
    size: int
    sha256: str


class _Writer:
    """Writes an archive; a version or run that vanishes meanwhile is cut out again."""

    def __init__(self, stream: IO[bytes], *, smaller_than: str) -> None:
        self.entries: list[_Entry] = []
        self.skipped: list[str] = []
        self._stream = stream
        created = datetime.now(UTC).isoformat(timespec="seconds")
        head = {"created": created, "version": VERSION, "smaller_than": smaller_than}
        # Any: tarfile's types lack `offset` and `members`.
        self._tar: Any = tarfile.TarFile(
            mode="w",
            fileobj=stream,
            dereference=True,  # two hard links are two files
            pax_headers={"comment": json.dumps(head)},
        )

    def take(self, path: str, folder: Path) -> None:
        """Add *folder* as *path*."""
        if not _UNITS_BELOW.fullmatch(path):
            self._take_unit(path, folder)
            return
        for child in _entries(folder):
            its_path, its_folder = f"{path}/{child.name}", Path(child.path)
            if child.is_dir(follow_symlinks=False):
                self.take(its_path, its_folder)
            else:
                self._add(its_path, its_folder)

    def close(self) -> None:
        """Add the sums and end the archive."""
        content = "".join(_sum_line(each) + "\n" for each in self.entries)
        sums = content.encode(errors="surrogateescape")
        info = tarfile.TarInfo(SUMS)
        info.size, info.mtime = len(sums), int(time.time())
        self._tar.addfile(info, io.BytesIO(sums))
        self._tar.close()

    def _take_unit(self, path: str, folder: Path) -> None:
        photos = folder / "photos"
        with self._whole(folder):
            # A job's photos may be deleted when it is over. They are copied before the
            # rest: if they vanish meanwhile, the rest is copied as of the job's end.
            if _PHOTOS.match(f"{path}/photos/"):
                with self._whole(photos):
                    self._take_all(f"{path}/photos", photos)
            self._take_all(path, folder)

    @contextmanager
    def _whole(self, folder: Path) -> Iterator[None]:
        start, count, before = self._tar.offset, len(self.entries), _identity(folder)
        yield
        if before is None or _identity(folder) != before:
            self._stream.seek(start)
            self._stream.truncate()
            self._tar.offset = start
            del self.entries[count:]

    def _take_all(self, path: str, folder: Path) -> None:
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._tar.addfile(info)
        for child in _entries(folder):
            its_path = f"{path}/{child.name}"
            if not child.is_dir(follow_symlinks=False):
                self._add(its_path, Path(child.path))
            elif not _PHOTOS.match(f"{its_path}/"):
                self._take_all(its_path, Path(child.path))

    def _add(self, path: str, source: Path) -> None:
        try:
            if not stat.S_ISREG(source.lstat().st_mode):
                self.skipped.append(path)
                return
            with source.open("rb") as stream:
                info = self._tar.gettarinfo(arcname=path, fileobj=stream)
                hashing = _Hashing(stream)
                self._tar.addfile(info, hashing)
        except FileNotFoundError:
            return  # replaced or deleted since it was listed
        self._tar.members.clear()  # 500,000 photos would fill the memory
        self.entries.append(_Entry(path, info.size, hashing.digest.hexdigest()))


class _Hashing:
    """A stream whose content is hashed while it is read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._stream = stream

    def read(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self.digest.update(chunk)
        return chunk


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [each for each in entries if not _is_temporary(each.name)]
    except FileNotFoundError:
        return []
    return sorted(kept, key=_order)


def _is_temporary(name: str) -> bool:
    return name in _LOCKS or name.startswith(TEMPORARY_PREFIX)


def _order(entry: os.DirEntry[str]) -> tuple[int, str]:
    ends = len(_ENDS) if entry.name not in _ENDS else _ENDS.index(entry.name)
    return ends, entry.name


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _sum_line(entry: _Entry) -> str:
    """The line of *entry* as sha256sum writes it."""
    escaped = entry.path.replace("\\", "\\\\").replace("\n", "\\n")
    mark = "" if escaped == entry.path else "\\"
    return f"{mark}{entry.sha256}  {escaped}"


@contextmanager
def _opened(archive: Path) -> Iterator[Any]:
    try:
        with tarfile.open(archive, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError, ValueError, TypeError, KeyError) as error:
        raise _unreadable(archive, error) from error


def _members(tar: Any) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    while (member := tar.next()) is not None:
        yield member, tar.extractfile(member) if member.isreg() else None
        tar.members.clear()


def _head(archive: Path) -> dict[str, str]:
    with _opened(archive) as tar:
        head = parse_json(tar.pax_headers["comment"])
        return {
            name: str(head[name]) for name in ("created", "version", "smaller_than")
        }


def _unreadable(archive: Path, reason: object) -> DamagedBackupError:
    message = f"{archive} is no complete backup ({reason}): use another one"
    return DamagedBackupError(message)


def _place(archive: Path, name: str, staged: Roots) -> Path | None:
    root, _, path = name.partition("/")
    if root not in {"models", "runs"} or ".." in path.split("/"):
        message = f"{archive} holds {name!r}, outside of models and runs"
        raise InvalidRequestError(f"{message}: use another backup")
    return staged[root] / path if root in staged else None


def _copy(member: tarfile.TarInfo, stream: IO[bytes], target: Path | None) -> str:
    hashing = _Hashing(stream)
    with Path(target or os.devnull).open("wb") as writing:
        while chunk := hashing.read(_CHUNK_BYTES):
            writing.write(chunk)
    if target is not None:
        target.chmod(member.mode)
        # Retention counts from the time of a file that a job's end wrote.
        os.utime(target, (member.mtime, member.mtime))
    return hashing.digest.hexdigest()


def _damage(stored: list[str], found: list[_Entry]) -> list[str]:
    lines = list(map(_sum_line, found))
    if lines == stored:
        return []
    as_written, there = set(lines), {line.partition("  ")[2] for line in lines}
    damaged = [line.partition("  ")[2] for line in stored if line not in as_written]
    return [
        f"{path} {'has another sha256' if path in there else 'is gone'}"
        for path in damaged
    ] or [f"{SUMS} lacks a file that is there"]


def _archives(folder: Path) -> list[Path]:
    """The complete archives in *folder*, newest first."""
    found = (each for each in _visible(folder) if each.suffix == ".tar")
    return sorted((each for each in found if _OURS.fullmatch(each.name)), reverse=True)


def _sound(folder: Path) -> Iterator[Path]:
    for archive in _archives(folder):
        try:
            if not _head(archive)["smaller_than"]:
                yield archive
        except DamagedBackupError:
            continue


@contextmanager
def _locked_target(target: Path) -> Iterator[None]:
    if target.exists() and not target.is_dir():
        raise InvalidRequestError(f"{target} is not a folder: name one")
    target.mkdir(parents=True, exist_ok=True)
    names = sorted(each.name for each in _visible(target))
    others = [name for name in names if not _OURS.fullmatch(name)]
    if others:
        named = ", ".join(others[:_NAMED])
        message = f"{target} holds other things ({named}): name a folder for backups"
        raise InvalidRequestError(f"{message} alone")
    message = f"another backup is being made in {target}: wait for its end"
    with locked_folder(target, busy=ConflictError(message)):
        for killed in target.glob(f"{TEMPORARY_PREFIX}*.tar-*"):
            killed.unlink()
        yield


def _keep_newest(target: Path, count: int) -> list[str]:
    """Remove the archives that are older than the newest *count* sound ones.

    Suspiciously small and damaged archives do not count, so they replace no good one.
    """
    kept = [archive for archive, _ in zip(_sound(target), range(count), strict=False)]
    if len(kept) < count:
        return []
    going = [each for each in _archives(target) if each.name < kept[-1].name]
    for archive in going:
        archive.unlink()
    return [each.name for each in going]


def _find_loss(roots: Roots, last: Path | None) -> str:
    """A sentence if *roots* have far less than the backup *last*; else empty."""
    now = _census(roots)
    if not now:
        where = ", ".join(map(str, roots.values()))
        message = f"nothing to back up: no file in {where}: see that KENNEL_HOME (or "
        raise InvalidRequestError(
            f"{message}MODELS_DIR and RUNS_DIR) names the installation, and that its "
            "disks are mounted"
        )
    if last is None:
        return ""
    then = _census_of(last)
    for name, root in roots.items():
        if (lost := _count(name, then)) and not _count(name, now):
            message = (
                f"{root} has no files, and the last backup ({last}) has {lost} of "
            )
            remedy = "see that its disk is mounted, or, if it was emptied on purpose,"
            raise InvalidRequestError(f"{message}it: {remedy} add --accept")
    if foreign := _find_foreign(roots, now, then):
        message = f"{foreign} and the last backup ({last}) have no file in common"
        remedy = "name another TARGET if this is another installation, else --accept"
        raise InvalidRequestError(f"{message}: {remedy}")
    size, size_before = (sum(size for _, size in each.values()) for each in (now, then))
    if max(len(then) / len(now), size_before / max(size, 1)) <= _MUCH_SMALLER:
        return ""
    return (
        f"{len(now)} files ({size / _MEGABYTE:.1f} MB) where {last.name} has "
        f"{len(then)} ({size_before / _MEGABYTE:.1f} MB), photos of jobs not counted"
    )


def _find_foreign(roots: Roots, now: _Census, then: _Census) -> str:
    shared = {path for path, seen in now.items() if then.get(path) == seen}
    if not shared:
        return " and ".join(map(str, roots.values()))
    # Jobs come and go, until none of the last backup's is left; but files older than
    # that backup would be in it.
    moment = max(changed for changed, _ in then.values())
    older = {path for path, (changed, _) in now.items() if changed < moment}
    return " and ".join(
        str(root)
        for name, root in roots.items()
        if _count(name, then) and _count(name, older) and not _count(name, shared)
    )


def _census(roots: Roots) -> _Census:
    found: _Census = {}
    folders = [*roots.items()]
    for path, folder in folders:
        for child in _entries(Path(folder)):
            its_path = f"{path}/{child.name}"
            if child.is_dir(follow_symlinks=False):
                if not _PHOTOS.match(f"{its_path}/"):
                    folders.append((its_path, Path(child.path)))
            elif child.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    status = child.stat()
                    found[its_path] = round(status.st_mtime, 6), status.st_size
    return found


def _census_of(archive: Path) -> _Census:
    with _opened(archive) as tar:
        return {
            member.name: (round(member.mtime, 6), member.size)
            for member, stream in _members(tar)
            if stream and member.name != SUMS and not _PHOTOS.match(member.name)
        }


def _count(name: str, paths: Iterable[str]) -> int:
    return sum(path.startswith(f"{name}/") for path in paths)


def _visible(folder: Path) -> list[Path]:
    """The entries of *folder* without locks and temporary files."""
    if not folder.is_dir():
        return []
    return [each for each in folder.iterdir() if not each.name.startswith(".")]


def _check_worth(archive: Path, staged: Roots, roots: Roots) -> None:
    having = [name for name in roots if any(map(Path.is_file, staged[name].rglob("*")))]
    if not having:
        message = f"{archive} has no files for {' and '.join(roots)}"
        raise InvalidRequestError(f"{message}: name another backup")
    for name, root in roots.items():
        if name not in having and _visible(root):
            message = f"{archive} has no files for {root}, which is not empty"
            raise ConflictError(
                f"{message}: name another backup, or leave it as it is with "
                f"--only {having[0]}"
            )


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    root.mkdir(parents=True, exist_ok=True)
    for dead in root.glob(f"{TEMPORARY_PREFIX}restore-*"):
        shutil.rmtree(dead, ignore_errors=True)
    folder = temporary_beside(root / "restore")
    folder.mkdir()
    try:
        # Locked, or a reconciler would remove it as an abandoned run.
        with locked_folder(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _without_reconciler(runs_dir: Path) -> Iterator[None]:
    path = runs_dir / LOCK_NAME
    if not path.exists():
        path.touch()
        # The lock's time is the reconciler's last look; there was none.
        os.utime(path, (0, 0))
    message = f"a reconciler works on {runs_dir}: stop the stack first"
    with locked_file(path, busy=ConflictError(message)):
        yield


def _take_place(staged: Path, root: Path) -> None:
    removed = staged / f"{TEMPORARY_PREFIX}replaced"
    removed.mkdir()
    for old in _visible(root):
        old.rename(removed / old.name)
    for new in _visible(staged):
        new.rename(root / new.name)
    sync_path(root)
