"""The CSV files of one job: they settle its request, list its images, and are kept."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.storage import explained_full_disk, open_atomically
from worker.columns import check_header, fitting_format
from worker.items import Listing
from worker.request import KAGGLE_MULTICLASS, JobRequest
from worker.sheets.listing import ImagesIn, list_manifest
from worker.sheets.opening import GivenSheet, opened_sheet
from worker.sheets.reading import Sheet
from worker.sheets.sample import file_name, file_stem, follow_sample

MANIFEST: Final = "manifest"
SAMPLE: Final = "sample_submission"

_one_at_a_time: Final = threading.Lock()
"""A list of a million rows takes 300 MB while it is read."""


@dataclass(frozen=True)
class Sheets:
    """The CSV files that come with a job.

    Attributes:
        manifest: lists the images; None: all of the input.
        sample_submission: has the header and the ids of the CSV to be made.
        decide_format: the sample decides the format, because the user did not.
    """

    manifest: GivenSheet = None
    sample_submission: GivenSheet = None
    decide_format: bool = False


NO_SHEETS: Final = Sheets()


@dataclass(frozen=True)
class JobSheets:
    """The same, opened."""

    manifest: Sheet | None
    sample: Sheet | None
    decide_format: bool

    def settle(self, request: JobRequest) -> JobRequest:
        """*request* with what the files say; the same files settle it the same way.

        Raises:
            InvalidRequestError: the request cannot be used, or the sample's header
                cannot be filled.
        """
        if not self.decide_format:
            request.check()
        manifest = None if self.manifest is None else self.manifest.digest
        if self.sample is None:
            return dataclasses.replace(request, manifest=manifest)
        header, chosen = self.sample.header(), request.format
        if self.decide_format:
            chosen = fitting_format(header, request.labels)
        check_header(header, chosen, request.labels)
        return dataclasses.replace(
            request,
            manifest=manifest,
            sample_submission=self.sample.digest,
            header=header,
            format=chosen,
        )

    def list_images(
        self, request: JobRequest, all_images: Callable[[], Listing], inside: ImagesIn
    ) -> Listing:
        """The images of a job, with the ids and in the order that the files say.

        *all_images* lists the whole input, *inside* one of its folders.

        Raises:
            InvalidRequestError: a file does not fit the input.
        """
        if self.manifest is None and self.sample is None:
            return all_images()
        with _one_at_a_time:
            if self.manifest is None:
                listing = all_images()
            else:
                by_name = request.format == KAGGLE_MULTICLASS
                make_id = file_name if by_name else file_stem
                listing = Listing(list_manifest(self.manifest, inside, make_id), ())
            if self.sample is None:
                return listing
            items = follow_sample(self.sample, listing.items)
            return dataclasses.replace(listing, items=items)

    def keep(self, folder: Path) -> None:
        """Write the files into *folder*, durably, under the names that users know.

        Raises:
            OSError: the disk is full or read-only.
        """
        for sheet in (self.manifest, self.sample):
            if sheet is not None:
                sheet.stream.seek(0)
                with open_atomically(folder / f"{sheet.name}.csv") as kept:
                    shutil.copyfileobj(sheet.stream, kept)


@contextmanager
def opened_sheets(
    sheets: Sheets, input_root: Path | str, runs_dir: Path
) -> Iterator[JobSheets]:
    """*sheets*, of which those named lie below *input_root*.

    Raises:
        InvalidRequestError: one is not there, or too large.
        StorageFullError, OSError: the disk of *runs_dir* is full or read-only.
    """
    with (
        explained_full_disk("RUNS_DIR"),
        opened_sheet(MANIFEST, sheets.manifest, input_root, runs_dir) as manifest,
        opened_sheet(SAMPLE, sheets.sample_submission, input_root, runs_dir) as sample,
    ):
        yield JobSheets(manifest, sample, sheets.decide_format)
