"""The only jobs that a worker runs: two functions, no callbacks, no webhooks.

Whoever can write to Redis can name any importable function, with any serializer. The
name is checked when the job runs and not when it is read: an exception while reading
would end the worker, not the job.
"""

from __future__ import annotations

from typing import Any, Final, Self

from redis import Redis
from redis.exceptions import ResponseError
from rq.exceptions import NoSuchJobError, TimeoutFormatError
from rq.job import Job
from rq.serializers import JSONSerializer

from models.errors import InvalidRequestError

PREDICT_SHARD: Final = "worker.jobs.predict_shard"
ASSEMBLE: Final = "worker.jobs.assemble"
ALLOWED: Final = frozenset({PREDICT_SHARD, ASSEMBLE})

_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    TimeoutFormatError,
    ResponseError,
)


class AllowedJob(Job):
    """A job whose function is one of `ALLOWED`."""

    @property
    def func(self) -> Any:
        """The function to run.

        Raises:
            InvalidRequestError: it is not one that workers run.
        """
        if self.func_name not in ALLOWED or self.instance is not None:
            message = f"{str(self.func_name)[:80]!r} is not a function that workers run"
            raise InvalidRequestError(message)
        return super().func

    @property
    def success_callback(self) -> None:
        """None: kennel's jobs have no callbacks."""

    @property
    def failure_callback(self) -> None:
        """None: kennel's jobs have no callbacks."""

    @property
    def stopped_callback(self) -> None:
        """None: kennel's jobs have no callbacks."""

    def send_webhooks(self, status: Any, *, exc_string: str | None = None) -> None:
        """Send nothing: addresses in a job would let its writer call any host."""

    @classmethod
    def fetch(
        cls,
        id: str,  # noqa: A002  RQ's name
        connection: Redis | None = None,
        serializer: Any = None,
    ) -> Self:
        """The stored job.

        Raises:
            NoSuchJobError: there is none, or it cannot be read: RQ then takes the next
                job, where any other exception would end the worker.
        """
        try:
            job = super().fetch(id, connection, serializer or JSONSerializer)
        except _UNREADABLE as error:
            raise NoSuchJobError(f"job {id!r} cannot be read ({error})") from error
        assert isinstance(job, cls)
        return job
