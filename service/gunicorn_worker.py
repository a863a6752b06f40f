"""gunicorn's threaded worker, made to bear bad clients.

It bounds the time that a request may take to arrive, waits for first bytes and for
leaving clients without stopping others, and refuses what is no HTTP as problem+json.
"""

from __future__ import annotations

import selectors
import time
from contextlib import suppress
from functools import partial
from typing import Any, Final, Self

from gunicorn import util  # type: ignore[import-untyped]
from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.workers.gthread import (  # type: ignore[import-untyped]
    TConn,
    ThreadWorker,
)

from models.errors import KennelError
from service.protection.errors import MalformedRequestError
from service.protection.patience import SEND_SECONDS, Patience, PatientReader
from service.protection.refusals import render_refusal

LINGER_SECONDS: Final = 1.0
"""How long a client may take to read its last answer before its line is cut."""


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


class BoundedWorker(ThreadWorker):  # type: ignore[misc]
    """The worker; `with_patience` makes a class of it that gunicorn can start."""

    patience = Patience()

    @classmethod
    def with_patience(cls, patience: Patience) -> type[Self]:
        """The class of workers that have *patience*."""
        return type(cls.__name__, (cls,), {"patience": patience})

    def enqueue_req(self, conn: TConn) -> None:
        """Give a connection that has sent something to a thread.

        A new one waits for that in the poller: gunicorn would let it hold a thread.
        """
        if isinstance(conn, PatientConnection):
            super().enqueue_req(conn)
            return
        waiting = PatientConnection(conn, self.patience)
        waiting.set_timeout()
        self.pending_conns.append(waiting)
        wake = partial(self.on_pending_socket_readable, waiting)
        self.poller.register(waiting.sock, selectors.EVENT_READ, wake)

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
        return super().handle_request(req, conn) and _is_read(conn)

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
    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> Any:
        try:
            return self._reader.read(size)
        except errors.ParseException as error:
            message = "the body is not valid HTTP (chunks or trailers): send it anew"
            raise MalformedRequestError(message) from error


def _is_read(conn: PatientConnection) -> bool:
    deadline = time.monotonic() + LINGER_SECONDS
    try:
        return bool(conn.parser.finish_body(deadline=deadline))
    except KennelError:
        # The answer is out: a second one, about the body, would answer nothing.
        return False
