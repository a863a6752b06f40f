"""Takes ended runs, or their photos alone, away: at once for readers, slowly for the disk.

What is deleted is renamed to an abandoned draft's name first. So a reader sees all of a
run or nothing, a deletion that is killed is finished by the next reconciler, and files
by the hundred thousand hold up nobody.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from models.errors import ConflictError
from models.files import locked_folder, sync_path, temporary_beside
from worker.run import Run
from worker.run_folder import no_such_job

_LOOK_SECONDS: Final = 0.05


def delete_run(
    run: Run, *, ended: float | None = None, wait_seconds: float = 0
) -> None:
    """Delete *run*, which is over; a worker that still leaves it is waited for.

    Raises:
        NotFoundError: it is not there (any more).
        ConflictError: it is not over, has another end than the one of *ended*, or is
            still worked on (code "job_not_over").
        OSError: the disk is read-only.
    """
    with _held(run, ended, wait_seconds):
        run.folder.rename(temporary_beside(run.folder))
        sync_path(run.folder.parent)


def delete_photos(run: Run, *, ended: float | None = None) -> None:
    """Delete the photos that were uploaded for *run*, which is over; the rest stays.

    Raises:
        NotFoundError, ConflictError: as `delete_run`.
        OSError: there are no photos, or the disk is read-only.
    """
    with _held(run, ended, 0):
        run.photos.rename(temporary_beside(Path(f"{run.folder}-photos")))
        sync_path(run.folder)


@contextmanager
def _held(run: Run, ended: float | None, wait_seconds: float) -> Iterator[None]:
    # Nobody works on the run, and nobody makes it go on. The workers' lock comes first:
    # one that still leaves may want to write the run's end.
    _check_over(run, ended)
    with ExitStack() as held:
        _hold(held, run, time.monotonic() + wait_seconds)
        held.enter_context(run.locked())
        _check_over(run, ended)
        yield


def _check_over(run: Run, ended: float | None) -> None:
    found = run.ended()
    if found is not None and ended in {None, found}:
        return
    if run.is_gone:
        raise no_such_job(run.id)
    message = f"job {run.id} is not over: cancel it before it is deleted"
    raise ConflictError(message, code="job_not_over")


def _hold(held: ExitStack, run: Run, deadline: float) -> None:
    message = f"a worker is still leaving job {run.id}: try again"
    busy = ConflictError(message, code="job_not_over")
    while True:
        try:
            held.enter_context(locked_folder(run.attempts, busy=busy))
        except FileNotFoundError as error:
            raise no_such_job(run.id) from error
        except ConflictError:
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_LOOK_SECONDS)
