"""Where the photos of a run lie: below INPUT_ROOT, or in the run when they were uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from models.errors import (
    ConflictError,
    InvalidImageError,
    InvalidRequestError,
    NotFoundError,
    quoted,
)
from models.files import parse_json
from worker.run import Run
from worker.run_items import find_item, shard_items
from worker.sources.local import LocalFolder
from worker.sources.source import InvalidFolderError, PhotoFolder, PhotoRoot


def photos_folder(run: Run, root: PhotoRoot) -> PhotoFolder:
    """The folder that holds the photos of *run*.

    Raises:
        InvalidRequestError: it is not there any more.
        NotFoundError: the manifest cannot be read.
        StorageUnavailableError: the storage is away.
    """
    request = run.manifest.request
    if request.archive is None:
        return root.folder(request.input)
    if not run.photos.is_dir():
        message = f"the photos of {quoted(request.input)} are gone: upload them again"
        raise InvalidRequestError(message, code="invalid_input")
    return LocalFolder(run.photos, request.input)


def job_folder(run: Run, root: PhotoRoot) -> PhotoFolder:
    """The same folder for a worker, who waits for a folder that is gone.

    Raises:
        InvalidRequestError: the photos were uploaded and are deleted.
        NotFoundError: the manifest cannot be read.
        StorageUnavailableError: the folder or its storage is away.
    """
    try:
        folder = photos_folder(run, root)
    except InvalidFolderError as error:
        raise error.during_job() from error
    return folder.of_job(partial(_listed_files, run))


def check_photos(run: Run) -> None:
    """See that the photos that were uploaded for *run* are still there.

    Raises:
        ConflictError: they are not (code "job_not_retryable").
        NotFoundError: the manifest cannot be read.
    """
    request = run.manifest.request
    if request.archive is not None and not run.photos.is_dir():
        message = (
            f"the photos of job {run.id} ({request.input}) were deleted some days after "
            "it ended: upload them again as another job"
        )
        raise ConflictError(message, code="job_not_retryable")


def read_photo(run: Run, root: PhotoRoot, image_id: str) -> bytes:
    """The file of one image of *run*, as it is.

    Raises:
        NotFoundError: there is no such image, or its file cannot be read any more
            (code "image_not_found").
        StorageUnavailableError: the storage is away.
    """
    file = _uncertain_file(run, image_id) or _listed_file(run, image_id)
    if file is None:
        message = f"job {run.id} has no image {quoted(image_id)}"
        raise NotFoundError(message, code="image_not_found")
    try:
        return photos_folder(run, root).read(file)
    except (InvalidImageError, InvalidRequestError) as error:
        message = f"image {quoted(image_id)} of job {run.id} cannot be read: {error}"
        raise NotFoundError(message, code="image_not_found") from error


def _listed_files(run: Run) -> Iterator[str]:
    for number in range(run.manifest.shard_count):
        yield from (item.file for item in shard_items(run, number))


def _listed_file(run: Run, image_id: str) -> str | None:
    item = find_item(run, image_id)
    return None if item is None else item.file


def _uncertain_file(run: Run, image_id: str) -> str | None:
    # A page shows these, two dozen at once: for them no long manifest is read.
    try:
        listed = parse_json(run.scores.read_text(encoding="utf-8"))["uncertain"]
    except (OSError, ValueError, LookupError):
        return None
    files = {entry["id"]: str(entry["file"]) for entry in listed}
    return files.get(image_id)
