"""One file into a backup or out of it: hashed on the way, never followed.

Nothing is flushed here: file by file that takes twenty times as long. Whoever gives a
folder its final name calls `os.sync` before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 1024 * 1024
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}
)
"""The file system has no hard links, or no more for this file."""


def is_plain(path: Path) -> bool:
    """Whether *path* is a file and no link, device or the like.

    Raises:
        FileNotFoundError: it is gone.
    """
    return stat.S_ISREG(path.lstat().st_mode)


def copy_file(source: Path, target: Path) -> tuple[int, str]:
    """Copy *source* to *target*, which is new; its size and sha256, as copied.

    Time and mode come along: the age of a job's end is that of a file.

    Raises:
        OSError: the source is gone, or the disk is full or read-only.
    """
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reading, target.open("xb") as writing:
        status = os.fstat(reading.fileno())
        while chunk := reading.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += writing.write(chunk)
        writing.flush()
        os.fchmod(writing.fileno(), stat.S_IMODE(status.st_mode))
        os.utime(writing.fileno(), ns=(status.st_mtime_ns, status.st_mtime_ns))
    return size, digest.hexdigest()


def link_file(kept: Path, target: Path) -> bool:
    """Let *target* be the same file as *kept*; False: that cannot be, copy instead.

    Raises:
        OSError: the disk is full or read-only.
    """
    try:
        target.hardlink_to(kept)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True
