"""Where the photos of a run lie: below INPUT_ROOT, or in the run when they were uploaded."""

from __future__ import annotations

from pathlib import Path

from models.errors import InvalidImageError, InvalidRequestError, NotFoundError
from models.images import read_image_file
from worker.contained import opened_folder
from worker.folders import resolve_folder
from worker.run import Run
from worker.run_items import find_item


def photos_folder(run: Run, input_root: Path) -> Path:
    """The folder that holds the photos of *run*.

    Raises:
        InvalidRequestError: it is not there any more.
        NotFoundError: the manifest cannot be read.
    """
    request = run.manifest.request
    if request.archive is None:
        return resolve_folder(input_root, request.input)
    if not run.photos.is_dir():
        message = f"the photos of {request.input!r} are gone: upload them again"
        raise InvalidRequestError(message, code="invalid_input")
    return run.photos


def read_photo(run: Run, input_root: Path, image_id: str) -> bytes:
    """The file of one image of *run*, as it is.

    Raises:
        NotFoundError: there is no such image, or its file cannot be read any more
            (code "image_not_found").
    """
    item = find_item(run, image_id)
    if item is None:
        message = f"job {run.id} has no image {image_id[:80]!r}"
        raise NotFoundError(message, code="image_not_found")
    try:
        return read_image_inside(photos_folder(run, input_root), item.file)
    except (InvalidImageError, InvalidRequestError) as error:
        message = f"image {image_id!r} of job {run.id} cannot be read: {error}"
        raise NotFoundError(message, code="image_not_found") from error


def read_image_inside(folder: Path, file: str) -> bytes:
    """The bytes of *file*, a plain file below *folder*; as `read_image_file`.

    Raises:
        InvalidImageError: gone, not a regular file, behind a link, or too large.
    """
    if "/" not in file:
        return read_image_file(folder / file)
    *folders, name = file.split("/")
    try:
        with opened_folder(folder, folders) as descriptor:
            return read_image_file(Path(name), folder=descriptor)
    except OSError as error:
        message = f"the file cannot be read ({error.strerror})"
        raise InvalidImageError(message, code="unreadable_file") from error
