"""Where the photos of a run lie: below INPUT_ROOT, or in the run when they were uploaded."""

from __future__ import annotations

from models.errors import InvalidImageError, InvalidRequestError, NotFoundError
from worker.run import Run
from worker.run_items import find_item
from worker.sources.local import LocalFolder
from worker.sources.source import PhotoFolder, PhotoRoot


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
        message = f"the photos of {request.input!r} are gone: upload them again"
        raise InvalidRequestError(message, code="invalid_input")
    return LocalFolder(run.photos, request.input)


def read_photo(run: Run, root: PhotoRoot, image_id: str) -> bytes:
    """The file of one image of *run*, as it is.

    Raises:
        NotFoundError: there is no such image, or its file cannot be read any more
            (code "image_not_found").
        StorageUnavailableError: the storage is away.
    """
    item = find_item(run, image_id)
    if item is None:
        message = f"job {run.id} has no image {image_id[:80]!r}"
        raise NotFoundError(message, code="image_not_found")
    try:
        return photos_folder(run, root).read(item.file)
    except (InvalidImageError, InvalidRequestError) as error:
        message = f"image {image_id!r} of job {run.id} cannot be read: {error}"
        raise NotFoundError(message, code="image_not_found") from error
