"""What every request for a model goes through, whatever it asks and in which protocol.

`receive` is called before the body is read, `admit` when its images are known: a
request that cannot be answered in time costs no upload, and each image is charged,
counted and held a place for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import Response, request

from models.contract import ModelCard
from models.images.sandbox import is_heavy
from models.wire.messages import ModelRef, Prediction
from service.budget import Budget, read_timeout
from service.hang_ups import HangUps
from service.observation.record import Answers, current_record
from service.predictions.admission import Admission
from service.protection.quota import charge_images


@dataclass(frozen=True)
class Reception:
    """Where requests for models arrive; shared by all threads.

    Attributes:
        note_traffic: called when a request for images comes, be it refused, and again
            when its images are in work; must be quick.
        hang_ups: tells requests that their clients have gone.
    """

    admission: Admission
    timeout_seconds: float
    note_traffic: Callable[[], object] = lambda: None
    hang_ups: HangUps = field(default_factory=HangUps)

    def receive(self, model: ModelRef) -> float:
        """The seconds that the request in work, which asks *model*, may take.

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

        How long the upload took is up to its sender's line and does not count.

        Raises:
            RateLimitedError: the sender's quota is used up.
            OverloadedError: there is no place for them, or they would wait too long.
            ClientGoneError: from within, where the client has closed its connection.
        """
        charge_images(len(images))
        record = current_record()
        record.images = len(images)
        connection = request.environ.get("gunicorn.socket")
        heavy = sum(map(is_heavy, images))
        with self.hang_ups.watching(connection) as hang_up:
            budget = record.budget = Budget(timeout, hang_up)
            with self.admission.enter(len(images), budget, heavy):
                self.note_traffic()
                yield budget


def note_answer(
    card: ModelCard, images: int, prediction: Prediction | None = None
) -> None:
    """Keep for metrics and the log that *card*'s version has answered *images*.

    With a *prediction*, its answers count in the spread that tells drift.
    """
    record = current_record()
    record.note_answer(card.version, images)
    if prediction is not None:
        record.answers = Answers(card.labels, prediction.probabilities)


def with_headers(response: Response, card: ModelCard, budget: Budget) -> Response:
    """*response* with who answered, and where the time went."""
    response.headers["X-Model-Name"] = card.name
    response.headers["X-Model-Version"] = str(card.version)
    if label := current_record().label:
        response.headers["X-Model-Label"] = label
    response.headers["Server-Timing"] = budget.server_timing()
    return response
