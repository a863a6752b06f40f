"""A client that polls the state and the CSV of one job all the time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from models.errors import ConflictError
from models.files import fingerprint_file
from worker.queue import JobQueue

ENDS = frozenset({"succeeded", "failed", "cancelled"})

_POLL_SECONDS = 0.02


class Watch:
    """Looks at a job in the background; `wrong` lists what no client may ever see.

    Attributes:
        seen: the states that the job was in, with seconds since the watch began.
        wrong: what broke the promise.
    """

    def __init__(self, queue: JobQueue, folder: Path, expected: str) -> None:
        """Watch the job whose run lies in *folder* and has to end with *expected*."""
        self.seen: list[tuple[float, str]] = []
        self.wrong: list[str] = []
        self._queue = queue
        self._folder = folder
        self._expected = expected
        self._begun = time.monotonic()
        self._report: object = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    @property
    def has_ended(self) -> bool:
        """Whether the job was seen in a state that it cannot leave."""
        return bool(self.seen) and self.seen[-1][1] in ENDS

    def _look_again_and_again(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            try:
                self._look()
            except Exception as error:
                self._complain(f"a look at the job raised {error!r}")

    def _look(self) -> None:
        self._look_at_csv()
        self._look_at_report()
        status = self._queue.status(self._folder.name)
        if not 0 <= status.done <= status.total:
            self._complain(f"{status.done} of {status.total} images are done")
        last = self.seen[-1][1] if self.seen else "queued"
        if last in ENDS and status.state != last:
            self._complain(f"the job was {last} and then {status.state}")
        if not self.seen or status.state != last:
            self.seen.append((time.monotonic() - self._begun, status.state))

    def _look_at_csv(self) -> None:
        try:
            text = self._queue.submission(self._folder.name).read_text()
        except ConflictError:
            return
        if text != self._expected:
            self._complain(f"a CSV that is not the right one was handed out: {text!r}")

    def _look_at_report(self) -> None:
        # It makes the CSV count: once there, neither may be touched again.
        report = fingerprint_file(self._folder / "report.json")
        if self._report is not None and report != self._report:
            self._complain("the report was written twice")
        self._report = self._report or report

    def _complain(self, what: str) -> None:
        if what not in self.wrong:
            self.wrong.append(what)
