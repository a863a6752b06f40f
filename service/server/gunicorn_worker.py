"""gunicorn's threaded worker, made to bear bad clients and to end without losing good ones.

It bounds the time that a request may take to arrive, waits for first bytes and for
leaving clients without stopping others, refuses what is no HTTP as problem+json, and
under an overload refuses requests without giving them to a thread.

One timeout for each read would not do: a client that sends a byte now and then never
meets it. So the head has a deadline, and a body has one that moves with what arrives.

A client may send its next request in the moment in which its connection is given up; it
would see the connection break without an answer. gunicorn gives up whoever its poller
has not mentioned, and under load what the poller said is many milliseconds old.
"""

from __future__ import annotations

import math
import select
import selectors
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Final, Self

from gunicorn import util  # type: ignore[import-untyped]
from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.http.unreader import (  # type: ignore[import-untyped]
    SocketUnreader,
)
from gunicorn.workers.gthread import (  # type: ignore[import-untyped]
    TConn,
    ThreadWorker,
)

from models.errors import KennelError
from service.http.errors import MalformedRequestError, SlowClientError
from service.http.shutdown import ShutdownFlag, register_shutdown
from service.server.load_shedding import render_refusal, turn_away_of

SEND_SECONDS: Final = 30.0
"""How long a client may not take anything of an answer before it is given up."""


@dataclass(frozen=True)
class Patience:
    """What a client may take for one request.

    Attributes:
        head_seconds: from its first byte to the end of its headers.
        body_seconds: for its body, and another second for each *body_bytes_per_second*
            that arrived: large uploads over slow lines are welcome, trickles are not.
    """

    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_bytes_per_second: float = 64 * 1024

    @classmethod
    def of(cls, body_seconds: float) -> Patience:
        """With *body_seconds*; heads need not have more."""
        return cls(min(cls.head_seconds, body_seconds), body_seconds)


class PatientReader(SocketUnreader):  # type: ignore[misc]
    """Reads a connection as gunicorn does, until patience is at its end.

    The socket's own timeout has to be SEND_SECONDS.
    """

    def __init__(self, connection: socket.socket, patience: Patience) -> None:
        """Read from *connection*; `expect_head` or `expect_body` come first."""
        super().__init__(connection)
        self._patience = patience
        self._deadline = 0.0
        self._bytes_per_second = math.inf

    def expect_head(self) -> None:
        """From now on the head of a request is read."""
        self.expect_rest(self._patience.head_seconds)

    def expect_body(self) -> None:
        """From now on its body is read."""
        self._deadline = time.monotonic() + self._patience.body_seconds
        self._bytes_per_second = self._patience.body_bytes_per_second

    def expect_rest(self, seconds: float) -> None:
        """From now on what nobody wanted of the body is read, for that long."""
        self._deadline = time.monotonic() + seconds
        self._bytes_per_second = math.inf

    def chunk(self, size_hint: int | None = None) -> Any:
        """The next bytes; none at the end of the connection.

        Raises:
            SlowClientError: they did not come in time.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _too_slow()
        self.sock.settimeout(left)
        try:
            data = super().chunk(size_hint)
        except TimeoutError as error:
            raise _too_slow() from error
        finally:
            self.sock.settimeout(SEND_SECONDS)
        self._deadline += len(data) / self._bytes_per_second
        return data


def _too_slow() -> SlowClientError:
    return SlowClientError("the request did not arrive in time: send it without pauses")


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """A worker that closes each connection after an answer once the API drains.

    When it ends, nobody is left in the queue of its socket.
    """

    drain: ShutdownFlag

    def load_wsgi(self) -> None:
        """Make the application, which is to know of the drain."""
        super().load_wsgi()
        register_shutdown(self.wsgi, self.drain)

    @property
    def max_keepalived(self) -> int:
        """How many connections may stay open after an answer: none once the API drains.

        gunicorn asks before each answer, so that none needs to wait for a tick.
        """
        return 0 if self.drain.begun else self._room

    @max_keepalived.setter
    def max_keepalived(self, room: int) -> None:
        self._room = room

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take connections, or none for now; none ever if the worker ends.

        Then those that wait in the kernel are taken first. gunicorn would leave them
        there, and more of them, until its last request is answered, and cut them then.
        """
        if enabled or self.alive:
            super().set_accept_enabled(enabled)
            return
        for listener in self.sockets:
            self._take_waiting(listener)
        super().set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()

    def _take_waiting(self, listener: Any) -> None:
        waiting = select.poll()
        waiting.register(listener, select.POLLIN)
        while self.nr_conns < self.worker_connections and waiting.poll(0):
            self.accept(listener)


LINGER_SECONDS: Final = 1.0
"""How long a client may take to read its last answer before its line is cut."""

REST_SECONDS: Final = 2.0
"""A thread has better things to do than to take an unwanted body any longer."""

_CHUNK_BYTES: Final = 64 * 1024


class PatientConnection(TConn):  # type: ignore[misc]
    """A connection whose requests have to arrive in time."""

    def __init__(self, accepted: TConn, patience: Patience) -> None:
        """Take over the connection that was *accepted*."""
        super().__init__(accepted.cfg, accepted.sock, accepted.client, accepted.server)
        self._patience = patience

    def init(self) -> None:
        """Get ready for the next request, whose first bytes are there."""
        super().init()
        self.sock.settimeout(SEND_SECONDS)
        if not isinstance(self.parser.unreader, PatientReader):
            self.parser.unreader = PatientReader(self.sock, self._patience)
        self.parser.unreader.expect_head()

    def close(self, graceful: bool = False) -> None:
        """Close at once: `BoundedWorker.handle` has waited where that was needed."""
        util.close(self.sock)


class BoundedWorker(DrainingWorker):
    """The worker; `made_with` makes a class of it that gunicorn can start."""

    patience = Patience()
    _under_way = 0
    """Requests that threads have or will have; only the main thread counts."""

    @classmethod
    def made_with(cls, patience: Patience, drain: ShutdownFlag) -> type[Self]:
        """The class of workers that have *patience* and heed the *drain*."""
        return type(cls.__name__, (cls,), {"patience": patience, "drain": drain})

    def enqueue_req(self, conn: TConn) -> None:
        """Give a connection that has sent something to a thread.

        A new one waits for that in the poller: gunicorn would let it hold a thread.
        """
        if isinstance(conn, PatientConnection):
            self._under_way += 1
            super().enqueue_req(conn)
            return
        waiting = PatientConnection(conn, self.patience)
        waiting.set_timeout()
        self.pending_conns.append(waiting)
        wake = partial(self.on_pending_socket_readable, waiting)
        self.poller.register(waiting.sock, selectors.EVENT_READ, wake)

    def finish_request(self, conn: TConn, fs: Any) -> None:
        """A thread is through with a request."""
        self._under_way -= 1
        super().finish_request(conn, fs)

    def on_client_socket_readable(self, conn: TConn, client: Any) -> None:
        """The next request has come on a connection that stayed open."""
        if not self._needs_no_thread(conn, self.keepalived_conns):
            super().on_client_socket_readable(conn, client)

    def on_pending_socket_readable(self, conn: TConn, client: Any) -> None:
        """The first request has come on a new connection."""
        if not self._needs_no_thread(conn, self.pending_conns):
            super().on_pending_socket_readable(conn, client)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections on which no further request has come; all, by *force*."""
        if not force:
            spare_speakers(self.keepalived_conns)
        super().murder_keepalived(force)

    def murder_pending(self) -> None:
        """Close connections on which no first request has come."""
        spare_speakers(self.pending_conns)
        super().murder_pending()

    def notify(self) -> None:
        """Tell gunicorn that the worker lives, and the log whom it has refused."""
        super().notify()
        turn_away_of(self.wsgi).tell()

    def handle(self, conn: PatientConnection) -> Any:
        """Answer the request that *conn* sends; true: the connection stays open."""
        stays = super().handle(conn)
        if not stays:
            # Here and not in the main thread (gunicorn's way), where one client that
            # does not close its end would keep all others from being accepted.
            util.close_graceful(conn.sock, timeout=LINGER_SECONDS)
        return stays

    def handle_request(self, req: Any, conn: PatientConnection) -> bool:
        """Answer *req*; true: another may follow on *conn*."""
        _check_coding(req)
        conn.parser.unreader.expect_body()
        req.body.reader = _BodyReader(req.body.reader)
        stays = super().handle_request(req, conn)
        # A client that still sends a large photo when its connection is closed would
        # see a reset connection instead of the answer.
        conn.parser.unreader.expect_rest(REST_SECONDS)
        return _is_drained(req.body) and stays

    def _needs_no_thread(self, conn: TConn, waiting: deque[TConn]) -> bool:
        # Many that leave at once are no crowd: they are let go before they count.
        if not turn_away_of(self.wsgi).has_left(conn.sock):
            return self._turned_away(conn, waiting)
        self.poller.unregister(conn.sock)
        waiting.remove(conn)
        self.nr_conns -= 1
        conn.close()
        return True

    def _turned_away(self, conn: TConn, waiting: deque[TConn]) -> bool:
        try:
            refused = turn_away_of(self.wsgi).refuse(conn.sock, self._under_way)
        except OSError:
            return False  # the thread that reads from it will find out
        if refused:
            renew(conn, waiting)
        return refused

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Refuse what could not be read; no more than the kind of trouble is told."""
        refusal = render_refusal(exc)
        host = addr[0] if addr else "-"
        # Not the exception's text: it may quote a header, and that may be a key.
        line = f"{refusal.request_id} {host}: {refusal.status}, {type(exc).__name__}"
        if refusal.status == 500:
            self.log.error(line, exc_info=exc)
        else:
            self.log.warning(line)
        with suppress(OSError):
            client.sendall(refusal.response)


def _check_coding(req: Any) -> None:
    # gunicorn takes compressed bodies and hands them on as they are.
    for name, value in req.headers:
        if name == "TRANSFER-ENCODING" and value.lower() != "chunked":
            raise errors.UnsupportedTransferCoding(value)


class _BodyReader:
    """Reads a body to its end, which gunicorn does not tell from a broken line."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._length: int | None = getattr(reader, "length", None)
        self._missing = self._length or 0

    def read(self, size: int) -> Any:
        try:
            data = self._reader.read(size)
        except errors.ParseException as error:
            message = "the body is not valid HTTP (chunks or trailers): send it anew"
            raise MalformedRequestError(message) from error
        except OSError as error:
            message = "the body broke off before its end: send it anew"
            raise MalformedRequestError(message) from error
        if self._length is None:
            return data
        wanted = min(size, self._missing)
        self._missing -= len(data)
        if len(data) < wanted:
            message = (
                f"the body broke off: {self._missing:,} of {self._length:,} bytes are "
                "missing: send it anew"
            )
            raise MalformedRequestError(message)
        return data


def _is_drained(body: Any) -> bool:
    try:
        while body.read(_CHUNK_BYTES):
            pass
    except (OSError, errors.ParseException, KennelError):
        # The answer is out: a second one, about the body, would answer nothing.
        return False
    return True


def spare_speakers(waiting: deque[TConn]) -> None:
    """Let those of the connections *waiting* stay whose request is there by now.

    They are sorted by their timeouts, before and after; nothing is read.
    """
    now = time.monotonic()
    for connection in list(takewhile(lambda each: each.timeout <= now, waiting)):
        if _has_spoken(connection.sock):
            renew(connection, waiting)


def renew(connection: TConn, waiting: deque[TConn]) -> None:
    """Begin *connection*'s time anew: it is the last of those *waiting* to be given up."""
    waiting.remove(connection)
    connection.set_timeout()
    waiting.append(connection)


def _has_spoken(line: socket.socket) -> bool:
    try:
        return bool(line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
