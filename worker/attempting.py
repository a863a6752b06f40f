"""One attempt at a shard or an assembly: counted before it, told of after it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from rq.timeouts import BaseTimeoutException

from models.errors import (
    ConflictError,
    InvalidRequestError,
    KennelError,
    ModelContractError,
    ModelUnavailableError,
    StorageUnavailableError,
)
from worker.absence import MODEL, PHOTOS, give_worker_back
from worker.attempts import (
    ASSEMBLY,
    attempts_left,
    give_up,
    record_attempt,
    record_failure,
)
from worker.breaking_off import broken_off_when_ended
from worker.disk import outlast_full_disk
from worker.run import Run

_log = logging.getLogger("kennel.worker")


@dataclass(frozen=True)
class Attempt:
    """One attempt at *work* for *run*.

    Attributes:
        work: a shard, by number, or the assembly.
        leaving: set when the worker is told to stop.
        wait_seconds: how long the run may wait for its model, or its photos, in all.
    """

    run: Run
    work: str
    leaving: threading.Event
    wait_seconds: float

    @contextmanager
    def begun(self) -> Iterator[bool]:
        """Whether the attempt may be made; what ends the block early is noted.

        Raises:
            KennelError, OSError: trouble that may pass; the work has to be begun again.
        """
        if not self._begin():
            yield False
            return
        begun = time.monotonic()
        try:
            with broken_off_when_ended(self.run):
                yield True
        except ConflictError:
            _log.info("run %s has ended, %s stops", self.run.id, self.work)
        except (ModelContractError, InvalidRequestError) as error:
            self.run.fail(error.public)
            _log.warning("run %s failed at %s: %s", self.run.id, self.work, error)
        except (ModelUnavailableError, StorageUnavailableError) as error:
            # What an assembly copies its results to is asked in each of its attempts.
            if self.leaving.is_set() or self.work == ASSEMBLY:
                self._note(error.public)
                raise
            self._wait_without_worker(time.monotonic() - begun, error)
        except Exception as error:
            # The root of the job: its owner shall read what is of use to them; RQ logs
            # the rest.
            self._note(_public(error))
            raise

    def _begin(self) -> bool:
        run, work = self.run, self.work
        if attempts_left(run, work) == 0:
            give_up(run, work)
            _log.warning("run %s failed: %s has used up its attempts", run.id, work)
            return False
        try:
            outlast_full_disk(
                run, partial(record_attempt, run, work), self.leaving.wait
            )
        except ConflictError:
            return False
        return True

    def _wait_without_worker(self, seconds: float, error: KennelError) -> None:
        if self.run.is_over:
            return
        _log.info("run %s, shard %s: %s", self.run.id, self.work, error)
        awaits = PHOTOS if isinstance(error, StorageUnavailableError) else MODEL
        told = (self.run, self.work, seconds, error.public, self.wait_seconds, awaits)
        give_back = partial(give_worker_back, *told)
        with suppress(ConflictError):
            outlast_full_disk(self.run, give_back, self.leaving.wait)

    def _note(self, reason: str) -> None:
        with suppress(OSError):
            record_failure(self.run, self.work, reason)


def _public(error: Exception) -> str:
    if isinstance(error, KennelError):
        return error.public
    if isinstance(error, BaseTimeoutException):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return (
            f"a file cannot be used ({error.strerror}); the worker's log has the rest"
        )
    return "something failed in a worker, whose log has the details"
