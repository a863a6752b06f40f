"""Admission: every request for a model is checked, charged and counted before it works.

`receive` is called before the body is read, `admit` when its images are known: a request
that cannot be answered in time costs no upload, and each image is charged, counted and
bounded.

The wait of an image is the number of images in work divided by the rate at which this process
answers them (Little's law). A request whose budget is shorter is refused with Retry-After,
instead of waiting for a timeout and delaying others. The rate counts only time in which images
were in work: an idle process is not a slow one. Older measurements fade, so a model server
that hangs is noticed within seconds, and one that is back is trusted again as it answers.

Load is shed here by images, and before that by requests: `service.server.load_shedding` refuses
those for which there is no thread, without knowing their model or their images.

A background thread notifies the workers of folder jobs of online traffic: a request only sets
a flag.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from flask import Response, request

from models.contract import MAX_BATCH_SIZE, ModelCard
from models.errors import ModelUnavailableError, QueueUnavailableError
from models.images.sandbox import is_heavy
from models.wire.messages import ModelRef, Prediction
from service.auth.rate_limits import charge_images
from service.http.budget import Budget, DisconnectWatcher, read_timeout
from service.http.errors import ClientGoneError, OverloadedError
from service.http.record import Answers, current_record
from service.http.threads import BackgroundThread

MEMORY_SECONDS: Final = 5.0
"""Time in work after which a measurement counts for 1/e: a few batches of VGG16."""

NOTICE_SECONDS: Final = 1.0
"""Pause between two notices; well below the time for which one is valid."""

_AWAY_SECONDS: Final = 5.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reception:
    """Checks, charges and counts each request for a model; shared by all threads.

    Attributes:
        note_traffic: called when a request for images comes, also when it is refused, and
            again when its images are in work; must be quick.
        disconnects: ends requests whose clients have closed their connections.
    """

    admission: Admission
    timeout_seconds: float
    note_traffic: Callable[[], object] = lambda: None
    disconnects: DisconnectWatcher = field(default_factory=DisconnectWatcher)

    def receive(self, model: ModelRef) -> float:
        """The seconds that the request in work, which is for *model*, may take.

        Raises:
            InvalidRequestError: its timeout header is no number.
            OverloadedError: it could not be answered in that time.
        """
        timeout = read_timeout(request.headers, self.timeout_seconds)
        current_record().model = model.name
        self.note_traffic()
        self.admission.check_room(timeout)
        return timeout

    @contextmanager
    def admit(self, images: Sequence[bytes], timeout: float) -> Iterator[Budget]:
        """Work on *images* within *timeout* seconds from now.

        The time of the upload does not count: it depends on the client's connection.

        Raises:
            RateLimitedError: the sender's quota is used up.
            OverloadedError: too many are in work, or they would wait too long.
            ClientGoneError: from within, where the client has closed its connection.
        """
        charge_images(len(images))
        record = current_record()
        record.images = len(images)
        connection = request.environ.get("gunicorn.socket")
        heavy = sum(map(is_heavy, images))
        with self.disconnects.watching(connection) as disconnect:
            budget = record.budget = Budget(timeout, disconnect)
            with self.admission.enter(len(images), budget, heavy):
                self.note_traffic()
                yield budget


def note_answer(
    card: ModelCard, images: int, prediction: Prediction | None = None
) -> None:
    """Note for metrics and the log that *card*'s version has answered *images*.

    The answers of a *prediction* count in the histogram of scores, which shows drift.
    """
    record = current_record()
    record.note_answer(card.version, images)
    if prediction is not None:
        record.answers = Answers(card.labels, prediction.probabilities)


def with_headers(response: Response, card: ModelCard, budget: Budget) -> Response:
    """*response* with headers for the version that answered and the time of each part."""
    response.headers["X-Model-Name"] = card.name
    response.headers["X-Model-Version"] = str(card.version)
    if label := current_record().label:
        response.headers["X-Model-Label"] = label
    response.headers["Server-Timing"] = budget.server_timing()
    return response


class Admission:
    """The images in work in this process, and whether more may come; thread-safe."""

    def __init__(
        self, limit: int, changed: Callable[[int], object] = lambda _: None
    ) -> None:
        """Let in at most *limit* images at the same time, however fast they go.

        *changed* is called with each change of their number, as +n or -n.
        """
        self._limit = limit
        self._changed = changed
        self._throughput = Throughput()
        self._apart = 0
        self._lock = threading.Lock()

    def is_busy(self) -> bool:
        """Whether any image is in work."""
        return self._throughput.in_work + self._apart > 0

    def check_room(self, seconds: float) -> None:
        """Make sure that one more image could be answered within *seconds*.

        Raises:
            OverloadedError: it could not.
        """
        with self._lock:
            self._check(1, seconds, time.monotonic())

    @contextmanager
    def enter(self, count: int, budget: Budget, apart: int = 0) -> Iterator[None]:
        """Work on *count* images, which should be answered within *budget*.

        *apart* of them are heavy: these have a queue of their own and do not count in
        the throughput, since a few that take seconds are no reason to refuse a photo.

        Raises:
            OverloadedError: they would not be, or too many are in work.
            ModelTimeoutError: the budget is spent.
        """
        seconds = budget.left()
        together = count - apart
        with self._lock:
            now = time.monotonic()
            self._check(together, seconds, now, apart)
            self._throughput.enter(together, now)
            self._apart += apart
        self._changed(count)
        answered = True
        try:
            yield
        except (ModelUnavailableError, ClientGoneError):
            answered = False
            raise
        finally:
            self._changed(-count)
            with self._lock:
                self._throughput.leave(together, time.monotonic(), answered=answered)
                self._apart -= apart

    def queue_seconds(self) -> float:
        """How long the images in work are likely to take; 0 if unknown."""
        with self._lock:
            return self._throughput.seconds_for(
                self._throughput.in_work, time.monotonic()
            )

    def _check(self, count: int, seconds: float, now: float, apart: int = 0) -> None:
        in_work = self._throughput.in_work
        queue = self._throughput.seconds_for(in_work, now)
        taken = in_work + self._apart
        if taken + count + apart > self._limit:
            message = f"{taken} images are in work and {self._limit} is the limit"
            raise OverloadedError(message, queue)
        if in_work == 0 or count == 0:
            return  # the first images show how fast it goes
        if self._throughput.seconds_for(in_work + count, now) > seconds:
            message = (
                f"{in_work} images are in work, too many for an answer within "
                f"{seconds:.1f} s"
            )
            raise OverloadedError(message, queue)


class Throughput:
    """Images in work, and how fast they are answered; not thread-safe.

    Attributes:
        in_work: images that entered and have not left.
    """

    def __init__(self) -> None:
        """No image was answered yet."""
        self.in_work = 0
        self._now = 0.0
        # Exponentially fading sums, over time in work only.
        self._seconds = 0.0
        self._image_seconds = 0.0
        self._answered = 0.0

    def enter(self, count: int, now: float) -> None:
        """Take *count* images into work; *now* in seconds, never going back."""
        self._advance(now)
        self.in_work += count

    def leave(self, count: int, now: float, *, answered: bool) -> None:
        """Take *count* images out of work: *answered* (bad ones too), or given up."""
        self._advance(now)
        self.in_work -= count
        if answered:
            self._answered += count

    def seconds_for(self, images: int, now: float) -> float:
        """How long *images* in work at a time are likely to take; 0 if unknown."""
        self._advance(now)
        if self._answered == 0 or self._seconds == 0:
            return 0.0
        if images <= MAX_BATCH_SIZE:
            # A model server answers a batch as one: the time of fewer images says
            # little about the time of a full batch.
            images_seen = self._image_seconds / self._seconds
            return min(images, 2 * images_seen) * self._seconds / self._answered
        return images * self._seconds / self._answered

    def _advance(self, now: float) -> None:
        elapsed, self._now = now - self._now, now
        if self.in_work == 0 or elapsed <= 0:
            return
        kept = math.exp(-elapsed / MEMORY_SECONDS)
        added = MEMORY_SECONDS * (1 - kept)
        self._seconds = kept * self._seconds + added
        self._image_seconds = kept * self._image_seconds + added * self.in_work
        self._answered *= kept


class TrafficNotice:
    """Calls *notify* once a second while there are requests for images; thread-safe."""

    def __init__(self, notify: Callable[[], None], is_busy: Callable[[], bool]) -> None:
        """Call nothing, and start no thread, before the first request.

        *is_busy*: whether a request is in work, which may outlast a notice.
        """
        self._notify = notify
        self._is_busy = is_busy
        self._wanted = threading.Event()
        self._thread = BackgroundThread(self._run, "traffic-notice")

    def note(self) -> None:
        """A request came; usually costs less than a microsecond."""
        if not self._wanted.is_set():
            self._wanted.set()
            self._thread.start()

    def _run(self) -> None:
        while self._is_busy() or self._wanted.wait():
            self._wanted.clear()
            try:
                self._notify()
            except QueueUnavailableError as error:
                logger.debug("%s", error)
                time.sleep(_AWAY_SECONDS)
            else:
                time.sleep(NOTICE_SECONDS)
