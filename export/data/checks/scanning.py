"""Looking at every photo once: does it decode, what is its hash, what does it look like.

A few threads read and decode; of each photo only its hash and a small grey copy stay in
memory (600 bytes, 15 MB for 25,000 photos).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.data.sources.photos import SourcePhoto
from export.data.threads import map_files
from export.progress import Progress
from models.errors import DatasetError, InvalidImageError, MissingImageError
from models.images.codec import decode_grey

THUMBNAIL_SIDE: Final = 24


@dataclass(frozen=True, eq=False)
class ScannedPhoto:
    """A photo that decodes: its content's hash and size in bytes, and its grey copy."""

    photo: SourcePhoto
    sha256: str
    size: int
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True)
class UnreadablePhoto:
    """A photo that does not decode, and why; its hash if it could be read at all."""

    photo: SourcePhoto
    reason: str
    sha256: str
    size: int


def scan_photos(
    photos: Sequence[SourcePhoto],
    read: Callable[[SourcePhoto], bytes],
    progress: Progress,
) -> tuple[list[ScannedPhoto], list[UnreadablePhoto]]:
    """Read and decode all *photos*, in their order; the second list is what failed.

    Raises:
        DatasetError: a photo is gone since it was listed.
        StorageUnavailableError: a disk or mount cannot be read now.
    """
    good: list[ScannedPhoto] = []
    bad: list[UnreadablePhoto] = []
    results = map_files(lambda photo: _scan(photo, read), photos)
    for number, result in enumerate(results, start=1):
        if isinstance(result, ScannedPhoto):
            good.append(result)
        else:
            bad.append(result)
        progress("check photos", number, len(photos))
    return good, bad


def _scan(
    photo: SourcePhoto, read: Callable[[SourcePhoto], bytes]
) -> ScannedPhoto | UnreadablePhoto:
    try:
        image = read(photo)
    except MissingImageError as error:
        message = (
            f"{photo.file.path} is gone since its folder was listed: see that the "
            "folder stays there (is its volume mounted?), then try again"
        )
        raise DatasetError(message) from error
    except InvalidImageError as error:
        return UnreadablePhoto(photo, str(error), "", photo.file.size)
    sha256 = hashlib.sha256(image).hexdigest()
    try:
        thumbnail = decode_grey(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    except InvalidImageError as error:
        return UnreadablePhoto(photo, str(error), sha256, len(image))
    return ScannedPhoto(photo, sha256, len(image), thumbnail)
