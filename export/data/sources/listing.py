"""All files of a source: those in its folders and those in its archives."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from export.data.sources.archives import Archives
from export.data.sources.files import (
    ARCHIVE,
    Listing,
    Origin,
    SourceFile,
    sort_files,
    walk_folder,
)

MAX_DEPTH: Final = 3
"""Archives in archives: Kaggle nests one in another, a bomb many."""


def list_source(source: Path, archives: Archives) -> Listing:
    """What *source*, a folder or an archive, holds; archives inside it are opened.

    Where a file lies both in a folder and in an archive of that name, the folder counts:
    someone has unpacked the archive and left it there.

    Raises:
        NotFoundError: there is no such folder or file.
        DatasetError: an archive is damaged, or cannot be read without `--encoding`.
        StorageUnavailableError: a disk or mount cannot be read now.
    """
    if source.is_file():
        listings = [archives.list_members(Origin(source), "")]
    else:
        listings = [walk_folder(source)]
    opened: set[str] = set()
    level = list(listings)
    for _ in range(MAX_DEPTH):
        found = [file for each in level for file in each.files if file.kind == ARCHIVE]
        level = [archives.list_members(file.origin, file.path) for file in found]
        opened |= {file.path for file in found}
        listings += level
    return _merge(listings, opened)


def _merge(listings: list[Listing], opened: set[str]) -> Listing:
    files: dict[str, SourceFile] = {}
    for listing in listings:
        for file in listing.files:
            if file.path not in opened or file.kind != ARCHIVE:
                files.setdefault(file.path, file)
    return Listing(
        tuple(sort_files(files.values())),
        tuple(sorted({name for each in listings for name in each.folders})),
        tuple(finding for each in listings for finding in each.findings),
    )
