"""The CSV files of one job: they settle its request, list its images, and are kept."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError
from models.files import explained_full_disk, open_atomically
from worker.columns import check_header, fitting_format
from worker.items import Listing, file_name, file_stem
from worker.request import KAGGLE_BINARY, KAGGLE_MULTICLASS, LABEL, JobRequest
from worker.sheets.listing import NamesIn, list_manifest, listed_names
from worker.sheets.opening import GivenSheet, opened_sheet
from worker.sheets.reading import Sheet
from worker.sheets.sample import (
    NAMES,
    NUMBERS,
    PROBABILITIES,
    follow_sample,
    kinds_of_values,
)

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
        request = request.with_own_positive()
        if not self.decide_format:
            request.check()
        manifest = None if self.manifest is None else self.manifest.digest
        if self.sample is None:
            return dataclasses.replace(request, manifest=manifest)
        header = self.sample.header()
        chosen, numbers = self._choose_format(self.sample, request, len(header))
        check_header(header, chosen, request.labels)
        return dataclasses.replace(
            request,
            manifest=manifest,
            sample_submission=self.sample.digest,
            header=header,
            format=chosen,
            label_numbers=numbers,
        )

    def _choose_format(
        self, sample: Sheet, request: JobRequest, columns: int
    ) -> tuple[str, bool]:
        """The format, and whether it writes the numbers of labels."""
        if not self.decide_format:
            if request.format != LABEL or columns != 2:
                return request.format, False
            # The user decided: values that say nothing stand for names.
            with suppress(InvalidRequestError):
                kinds = kinds_of_values(sample, request.labels)
                return LABEL, NUMBERS in kinds and NAMES not in kinds
            return LABEL, False
        if columns != 2:
            return fitting_format(sample.header(), request.labels), False
        kinds = kinds_of_values(sample, request.labels)
        # 0 and 1 are probabilities as well, if there is a label that they can be of.
        one_label = len(request.labels) == 2 or request.positive is not None
        if PROBABILITIES in kinds and (one_label or len(kinds) == 1):
            return KAGGLE_BINARY, False
        return LABEL, NAMES not in kinds

    def listed(self) -> frozenset[str]:
        """The names of the files that the manifest lists; none if there is none.

        Raises:
            InvalidRequestError: it cannot be read.
        """
        return frozenset() if self.manifest is None else listed_names(self.manifest)

    def list_images(
        self, request: JobRequest, all_images: Callable[[], Listing], names_in: NamesIn
    ) -> Listing:
        """The images of a job, with the ids and in the order that the files say.

        *all_images* lists the whole input, *names_in* tells what is in its folders.

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
                listing = Listing(list_manifest(self.manifest, names_in, make_id), ())
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
