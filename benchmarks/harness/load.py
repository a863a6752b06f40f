"""A load of HTTP requests, made by a process of its own: python -m benchmarks.harness.load

At a rate the request times are set beforehand and latency counts from them, so a server
that stalls cannot hide how many it kept waiting (coordinated omission).
"""

from __future__ import annotations

import json
import math
import random
import re
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, count, takewhile
from typing import Final, Self
from urllib.parse import urlsplit

import click

from benchmarks.harness.photos import camera_jpeg


@dataclass(frozen=True)
class Target:
    """The URL for photos, and whether they are sent as a multipart form."""

    url: str
    form: bool = False

    def clients(self, clients: int, seconds: float) -> LoadResult:
        """The result of *clients* that post without a pause; all must get a 200."""
        result = self._run("--clients", str(clients), "--seconds", str(seconds))
        if set(result.statuses) != {200}:
            raise SystemExit(f"{self.url} answered {result.statuses}, not only 200")
        return result

    def rate(self, rate: float, seconds: float) -> LoadResult:
        """The result of *rate* requests a second at fixed times."""
        return self._run("--rate", str(rate), "--seconds", str(seconds))

    def independent(self, rate: float, seconds: float) -> LoadResult:
        """The result of *rate* requests a second at `random_arrivals`."""
        arguments = ("--rate", str(rate), "--seconds", str(seconds))
        return self._run(*arguments, "--independent")

    def _run(self, *arguments: str) -> LoadResult:
        command = [
            sys.executable,
            "-m",
            "benchmarks.harness.load",
            self.url,
            *arguments,
        ]
        if self.form:
            command.append("--form")
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return LoadResult.from_json(done.stdout)


@dataclass(frozen=True)
class Outcome:
    """One request.

    Attributes:
        status: HTTP status; 0: the connection broke.
        seconds: from the moment at which it was due to the whole answer.
        retry_after: whether the answer has a Retry-After header.
    """

    status: int
    seconds: float
    retry_after: bool = False


@dataclass(frozen=True)
class LoadResult:
    """All requests of a load.

    Attributes:
        seconds: from the first request to the last answer.
        cpu_seconds: processor time of the load itself.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Requests answered with 200, a second."""
        return len(self.of_status(200)) / self.seconds

    @property
    def statuses(self) -> dict[int, int]:
        counts = Counter(outcome.status for outcome in self.outcomes)
        return dict(sorted(counts.items()))

    def of_status(self, status: int) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == status]

    def milliseconds(self, percent: float, status: int = 200) -> float:
        """The *percent*-th percentile of the requests answered with *status*."""
        return 1000 * percentile(
            [outcome.seconds for outcome in self.of_status(status)], percent
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        content = json.loads(text)
        outcomes = tuple(Outcome(**each) for each in content.pop("outcomes"))
        return cls(outcomes, **content)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that *percent* of *values* do not exceed; NaN for none."""
    if not values:
        return math.nan
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def steady_arrivals(rate: float, seconds: float) -> list[float]:
    """*rate* requests a second at fixed distances."""
    return [number / rate for number in range(int(rate * seconds))]


def random_arrivals(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Independent requests, as many people make them (a Poisson process)."""
    generator = random.Random(seed)
    moments = accumulate(generator.expovariate(rate) for _ in count())
    return list(takewhile(lambda moment: moment < seconds, moments))


_BOUNDARY: Final = "a-boundary-that-no-photo-holds"


def photo_request(url: str, *, form: bool) -> tuple[tuple[str, int], bytes]:
    """Address and bytes of a POST to *url*: the photo as the body or in a *form*."""
    parts = urlsplit(url)
    body, kind = camera_jpeg(1), "image/jpeg"
    if form:
        body, kind = photo_form([body])
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n"
        # A slow machine's 32 clients wait longer than Kennel lets them by default.
        "X-Request-Timeout-Ms: 25000\r\n\r\n"
    )
    return (parts.hostname or "127.0.0.1", parts.port or 80), head.encode() + body


def photo_form(images: Sequence[bytes]) -> tuple[bytes, str]:
    """A multipart form of *images*, and its content type."""
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    parts = b"".join(head + image + b"\r\n" for image in images)
    kind = f"multipart/form-data; boundary={_BOUNDARY}"
    return parts + f"--{_BOUNDARY}--\r\n".encode(), kind


_MAX_CONNECTIONS: Final = 900
"""Below the usual limit of open files; further requests wait, and their clock runs."""

_PATIENCE_SECONDS: Final = 60.0


class Loop:
    """The connections to one server."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self._address = address
        self._request = request
        self._selector = selectors.DefaultSelector()
        self._idle: list[Connection] = []
        self._outcomes: list[Outcome] = []
        self.busy = 0

    def run_clients(self, clients: int, seconds: float) -> LoadResult:
        """Each of *clients* posts again as soon as it is answered, for *seconds*."""
        began, spent = time.perf_counter(), time.process_time()
        for _ in range(clients):
            self._start(time.perf_counter())
        while self.busy and time.perf_counter() < began + seconds + _PATIENCE_SECONDS:
            for _ in self._turn(1.0):
                now = time.perf_counter()
                if now < began + seconds:
                    self._start(now)
        return self._result(began, spent)

    def run_at(self, arrivals: Sequence[float], seconds: float) -> LoadResult:
        """Post at *arrivals*, within *seconds*, whatever the answers do."""
        began, spent = time.perf_counter(), time.process_time()
        dues = deque(began + arrival for arrival in arrivals)
        while dues or self.busy:
            now = time.perf_counter()
            if now > began + seconds + _PATIENCE_SECONDS:
                break
            while dues and dues[0] <= now and self.busy < _MAX_CONNECTIONS:
                self._start(dues.popleft())
            full = self.busy >= _MAX_CONNECTIONS
            for _ in self._turn(max(dues[0] - now, 0) if dues and not full else 1.0):
                pass
        return self._result(began, spent)

    def _start(self, due: float) -> None:
        connection = self._idle.pop() if self._idle else self._connect()
        connection.start(due)
        self.busy += 1
        self._watch(connection)

    def _connect(self) -> Connection:
        connection = Connection(self._address, self._request)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _watch(self, connection: Connection) -> None:
        events = selectors.EVENT_READ
        if connection.sending:
            events |= selectors.EVENT_WRITE
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _turn(self, timeout: float) -> Iterator[Outcome]:
        for key, events in self._selector.select(timeout):
            connection: Connection = key.data
            if events & selectors.EVENT_WRITE:
                connection.send()
                self._watch(connection)
            if events & selectors.EVENT_READ:
                outcome = self._read(connection)
                if outcome is not None:
                    self._outcomes.append(outcome)
                    yield outcome

    def _read(self, connection: Connection) -> Outcome | None:
        if not connection.busy:
            self._idle.remove(connection)  # the server closes what idles
            self._drop(connection)
            return None
        outcome = connection.receive()
        if outcome is not None:
            self.busy -= 1
            if connection.reusable:
                self._idle.append(connection)
            else:
                self._drop(connection)
        return outcome

    def _drop(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.close()

    def _result(self, began: float, spent: float) -> LoadResult:
        unanswered = [Outcome(0, time.perf_counter() - began)] * self.busy
        return LoadResult(
            (*self._outcomes, *unanswered),
            time.perf_counter() - began,
            time.process_time() - spent,
        )


_LENGTH: Final = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER: Final = re.compile(rb"\r\nRetry-After: *\d+", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nConnection: *close", re.IGNORECASE)
_CHUNK_BYTES: Final = 64 * 1024


class Connection:
    """Posts one request at a time.

    Attributes:
        socket: for a selector.
        busy: a request is under way.
        reusable: another request may follow the last one.
    """

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.socket = socket.create_connection(address, timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.busy = False
        self.reusable = True
        self._request = memoryview(request)
        self._unsent = self._request[:0]
        self._received = b""
        self._due = 0.0

    @property
    def sending(self) -> bool:
        return len(self._unsent) > 0

    def start(self, due: float) -> None:
        """Begin a request that should have been sent at *due*."""
        self._due = due
        self._unsent = self._request
        self._received = b""
        self.busy = True
        self.send()

    def send(self) -> None:
        """Send as much as the connection takes."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            # An answer may have come before all was sent: `receive` finds out.
            self._unsent = self._request[:0]
            self.reusable = False

    def receive(self) -> Outcome | None:
        """Read the bytes that have come; the outcome if the answer is complete."""
        try:
            chunk = self.socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            chunk = b""
        self._received += chunk
        outcome = self._outcome() if chunk else Outcome(0, self._seconds())
        if outcome is not None:
            self.busy = False
            self.reusable &= outcome.status != 0 and not self.sending
        return outcome

    def close(self) -> None:
        self.socket.close()

    def _outcome(self) -> Outcome | None:
        head, complete, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if complete else None
        if length is None or len(body) < int(length[1]):
            return None
        self.reusable &= _CLOSE.search(head) is None
        retry_after = _RETRY_AFTER.search(head) is not None
        return Outcome(int(head[9:12]), self._seconds(), retry_after)

    def _seconds(self) -> float:
        return time.perf_counter() - self._due


@click.command()
@click.argument("url")
@click.option("--clients", default=1, help="Clients that post without a pause.")
@click.option("--rate", type=float, help="Or: requests a second, at fixed times.")
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--independent", is_flag=True, help="At random times of that rate.")
@click.option("--form", is_flag=True, help="A multipart form instead of a raw body.")
def main(
    url: str,
    clients: int,
    rate: float | None,
    seconds: float,
    independent: bool,
    form: bool,
) -> None:
    address, request = photo_request(url, form=form)
    loop = Loop(address, request)
    if rate is None:
        result = loop.run_clients(clients, seconds)
    else:
        arrivals = random_arrivals if independent else steady_arrivals
        result = loop.run_at(arrivals(rate, seconds), seconds)
    click.echo(result.to_json())


if __name__ == "__main__":
    main()
