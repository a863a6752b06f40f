"""The decode sandbox: child processes, which can be killed, decode costly images.

A decoder cannot be stopped inside a process, and the memory that it took does not always
return. So an image that may take long or much memory is decoded by a child process under
limits of processor time and memory. A child that passes a limit is ended and its image
refused as too_complex; an image whose child dies is refused as breaks_decoder. The next
image gets a new child.

Children are started with `subprocess` and import nothing but the decoders: a process with
threads or gRPC channels must not be forked. They see no secrets of the environment. They
end when their parent is gone, however it ended, when no image has come for a while, and
when their memory has grown. When memory runs out, the kernel ends them first.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

import numpy as np

from models.errors import InvalidImageError, ModelOverloadedError
from models.images.codec import (
    Pixels,
    decode_image,
    decode_thumbnail,
    is_costly,
    is_drafted,
)
from models.images.files import check_image_bytes, limit_pixels, most_pixels
from models.images.formats import TOO_COMPLEX
from models.images.preprocessing import NEWEST, Preprocessing

HEAVY_BYTES: Final = 8 * 1024 * 1024
HEAVY_PIXELS: Final = 16_000_000
"""A phone's photo is below both, and decoded in 0.1 s."""

BREAKS_DECODER: Final = "breaks_decoder"
"""The code of an image whose decoder crashes, or ends in an unknown error."""

Order: TypeAlias = tuple[int, int, int]
"""The place of the preprocessing in `_VERSIONS`, and height and width of the pixels; or
`_THUMBNAIL`, its longest side, and nothing."""

_VERSIONS: Final = tuple(Preprocessing)
_THUMBNAIL: Final = len(_VERSIONS)

_ORDER: Final = struct.Struct("<BIIdQ")
"""The order, the processor seconds that it may take, and the bytes of the image."""

_ANSWER: Final = struct.Struct("<??IIQ")
"""Whether these are pixels, and the last of this child; their height and width, or the
bytes of the error's code and nothing; the bytes that follow."""

_READY: Final = b"r"
_START_SECONDS: Final = 20.0
_GROWN_BYTES: Final = 64 * 1024 * 1024

_PASSED_ON: Final = (
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL"),
    *("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"),
)
"""Variables that a child gets: no keys, no passwords."""

_SET: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    # What an image took goes back to the kernel; pixels of small ones need not.
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding one image may take, and how long a child lives.

    Attributes:
        cpu_seconds: processor time. On one core of a 2-core EPYC 50 megapixels that are
            decoded whole take 0.3 to 0.8 s, and transparent WebP of that size, the slowest, 1.4 s.
        memory_bytes: address space above that of a child at rest. A JPEG of 50 megapixels
            decoded whole takes 200 to 380 MB, a progressive one of 108 up to 660 MB, and WebP, the most,
            780 MB. Not enforced on macOS.
        wall_seconds: between order and answer, where the caller allows no less.
        images: how many a child decodes before another one takes its place.
        idle_seconds: how long a child waits for an image before it ends.
        niceness: 0 to 19: how far a child gives way to other processes.
    """

    cpu_seconds: float = 3.0
    memory_bytes: int = 1024 * 1024 * 1024
    wall_seconds: float = 60.0
    images: int = 500
    idle_seconds: float = 30.0
    niceness: int = 0


def is_heavy(
    image: bytes,
    size: tuple[int, int] | None = None,
    preprocessing: Preprocessing = NEWEST,
) -> bool:
    """Whether *image* may take much more than a phone's photo, by its headers.

    Such images should not be queued together with those that are only large. A JPEG is
    none if it is decoded at a small fraction for a model of *size* (None: not known yet).
    """
    if not is_costly(image, HEAVY_BYTES, HEAVY_PIXELS):
        return False
    return size is None or not is_drafted(image, size, HEAVY_PIXELS, preprocessing)


class DecodeSandbox:
    """A pool of child processes that decode images; thread-safe; a context manager.

    There are as many children as there are calls at a time, so callers bound these; none
    is started before the first call.
    """

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        """*limits* (default: those of `DecodeLimits`) hold for each image."""
        self.limits = limits or DecodeLimits()
        self._children: set[_Child] = set()
        self._idle: list[_Child] = []
        self._is_closed = False
        self._lock = threading.Lock()
        # For a sandbox that was never closed, also at the end of the process.
        weakref.finalize(self, _dispose_all, self._children)

    def decode(
        self,
        image: bytes,
        size: tuple[int, int],
        seconds: float | None = None,
        preprocessing: Preprocessing = NEWEST,
    ) -> Pixels:
        """The pixels of `decode_image`, decoded by a child within *seconds*.

        Raises:
            InvalidImageError: as `decode_image`; too_complex if a limit was passed,
                breaks_decoder if two children died while they decoded the image.
            TimeoutError: decoding took more than *seconds*; the child was killed.
            ModelOverloadedError: no child can be started now.
        """
        order = (_VERSIONS.index(preprocessing), *size)
        return self._run(order, image, seconds)

    def thumbnail(
        self, image: bytes, longest_side: int, seconds: float | None = None
    ) -> Pixels:
        """The pixels of `decode_thumbnail`, decoded by a child within *seconds*.

        Raises:
            InvalidImageError, TimeoutError, ModelOverloadedError: as `decode`.
        """
        return self._run((_THUMBNAIL, longest_side, 0), image, seconds)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the children that are alive."""
        with self._lock:
            return tuple(each.pid for each in self._children if each.is_alive())

    @property
    def in_work(self) -> int:
        """The number of images that children are decoding now."""
        with self._lock:
            return len(self._children) - len(self._idle)

    def close(self) -> None:
        """Kill all children; calls that wait for one raise TimeoutError."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._children.difference_update(idle)
            busy = tuple(self._children)
        for child in idle:
            child.dispose()
        for child in busy:
            child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, order: Order, image: bytes, seconds: float | None) -> Pixels:
        # No process is started for an empty image.
        check_image_bytes(len(image), max(len(image), 1))
        allowed = self.limits.wall_seconds
        allowed = allowed if seconds is None else min(seconds, allowed)
        deadline = time.monotonic() + allowed
        outcome = self._attempt(order, image, deadline)
        if isinstance(outcome, _Ended) and outcome.may_be_accident:
            # It was killed from outside, or ended as idle just when this image came.
            outcome = self._attempt(order, image, deadline, fresh=True)
        if not isinstance(outcome, _Ended):
            return outcome
        if outcome.is_late and allowed < self.limits.wall_seconds:
            raise TimeoutError(f"the image was not decoded within {allowed:.1f} s")
        raise outcome.refusal(self.limits)

    def _attempt(
        self, order: Order, image: bytes, deadline: float, fresh: bool = False
    ) -> Pixels | _Ended:
        child = self._take(fresh)
        try:
            child.wait_until_ready(deadline)
            return child.decode(order, self.limits.cpu_seconds, image, deadline)
        except TimeoutError:
            child.kill()
            return _Ended(None)
        except OSError:
            return _Ended(child.kill())
        finally:
            self._put_back(child)

    def _take(self, fresh: bool) -> _Child:
        with self._lock:
            if self._is_closed:
                raise TimeoutError("the processes for decoding were ended")
            self._forget_ended()
            if self._idle and not fresh:
                return self._idle.pop()
            child = _Child(self.limits)
            self._children.add(child)
            return child

    def _forget_ended(self) -> None:
        for child in [each for each in self._idle if not each.is_alive()]:
            self._idle.remove(child)
            self._children.discard(child)
            child.dispose()

    def _put_back(self, child: _Child) -> None:
        with self._lock:
            if child.is_usable and not self._is_closed:
                self._idle.append(child)
                return
            self._children.discard(child)
        child.dispose()


def _dispose_all(children: set[_Child]) -> None:
    while children:
        children.pop().dispose()


@dataclass(frozen=True)
class _Ended:
    """How a child ended instead of answering; status None: killed at its deadline."""

    status: int | None

    @property
    def is_late(self) -> bool:
        return self.status is None

    @property
    def may_be_accident(self) -> bool:
        return self.status not in (None, -signal.SIGPROF)

    def refusal(self, limits: DecodeLimits) -> InvalidImageError:
        if self.is_late:
            return _limit_passed(f"more than {limits.wall_seconds:g} s")
        if self.status == -signal.SIGPROF:
            return _limit_passed(f"more than {limits.cpu_seconds:g} s of a processor")
        return broken_decoder(f"ended with status {self.status}")


class _Child:
    """A child process, from its parent's side; used by one thread, killed by any.

    Attributes:
        is_usable: it has answered and waits for another image.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self.is_usable = False
        self._is_ready = False
        self._socket, theirs = socket.socketpair()
        numbers = (limits.memory_bytes, limits.images, limits.idle_seconds)
        arguments = map(str, (*numbers, limits.niceness, most_pixels()))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "models.images.sandbox", *arguments],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_child_environment(),
            )
        except OSError as error:
            self._socket.close()
            raise _no_child(error) from error
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> int:
        """Kill the child; returns its exit status, its own if it had ended before."""
        self.is_usable = False
        with suppress(OSError):
            # Wakes the thread that waits for its answer.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.kill()
        return self._process.wait()

    def dispose(self) -> None:
        """Kill the child and close its socket; it cannot be used afterwards."""
        self.kill()
        self._socket.close()

    def wait_until_ready(self, deadline: float) -> None:
        """Wait until the child's imports are done.

        Raises:
            TimeoutError: *deadline* came first.
            ModelOverloadedError: the child ended, or takes too long to start.
        """
        if self._is_ready:
            return
        start_deadline = time.monotonic() + _START_SECONDS
        try:
            self._receive(bytearray(len(_READY)), min(deadline, start_deadline))
        except TimeoutError as error:
            if deadline <= start_deadline:
                raise
            raise _no_child(f"not ready after {_START_SECONDS:g} s") from error
        except OSError as error:
            raise _no_child(f"it ended with status {self.kill()}") from error
        self._is_ready = True

    def decode(
        self, order: Order, cpu_seconds: float, image: bytes, deadline: float
    ) -> Pixels:
        """The pixels of *image* that *order* describes.

        Raises:
            InvalidImageError: the child refused the image.
            TimeoutError: no answer before *deadline*.
            OSError: the child has ended.
        """
        self.is_usable = False
        header = _ORDER.pack(*order, cpu_seconds, len(image))
        for part in (header, image):
            self._socket.settimeout(_left(deadline))
            self._socket.sendall(part)
        answer = bytearray(_ANSWER.size)
        self._receive(answer, deadline)
        are_pixels, is_last, height, width, count = _ANSWER.unpack(answer)
        body = np.empty(count, np.uint8)
        self._receive(body.data, deadline)
        self.is_usable = not is_last
        if are_pixels:
            return body.reshape(height, width, 3)
        text = body.tobytes()
        raise InvalidImageError(text[height:].decode(), code=text[:height].decode())

    def _receive(self, into: bytearray | memoryview, deadline: float) -> None:
        rest = memoryview(into)
        while rest:
            self._socket.settimeout(_left(deadline))
            count = self._socket.recv_into(rest)
            if count == 0:
                raise ConnectionResetError("the process for decoding has ended")
            rest = rest[count:]


def broken_decoder(what: str) -> InvalidImageError:
    """The error for an image whose decoder failed as *what* says, without an answer."""
    message = (
        f"the image breaks its decoder, which {what}: save it again as JPEG or PNG, or "
        "leave it out"
    )
    return InvalidImageError(message, code=BREAKS_DECODER)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for decoding is over")
    return left


def _child_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    above = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (above, kept.get("PYTHONPATH"))))
    return {**kept, **_SET, "PYTHONPATH": path}


def _no_child(reason: object) -> ModelOverloadedError:
    message = f"no process for decoding could be started ({reason}): try again"
    return ModelOverloadedError(message)


def _limit_passed(what: str) -> InvalidImageError:
    message = (
        f"to decode the image takes {what}: save it again as an ordinary JPEG, or "
        "scale it down"
    )
    return InvalidImageError(message, code=TOO_COMPLEX)


# --- the child ------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """The child process: decode images from the socket at standard input.

    It ends after its last image, when it has grown or idled too long, or with its parent.

    *arguments*: memory_bytes, images, idle_seconds and niceness of `DecodeLimits`, and
    the pixels that an image may have.
    """
    memory_bytes, images, idle_seconds, niceness, pixels = arguments
    limit_pixels(int(pixels))
    parent = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    threading.Thread(target=_exit_with, args=[parent], daemon=True).start()
    _lower_priority(int(niceness))
    _limit_memory(int(memory_bytes))
    idle_bytes = _resident_bytes()
    parent.sendall(_READY)
    for left in reversed(range(int(images))):
        if not select.select([parent], [], [], float(idle_seconds))[0]:
            break
        header, body = _decode_next(parent, int(memory_bytes))
        is_last = left == 0 or _resident_bytes() > idle_bytes + _GROWN_BYTES
        are_pixels, *numbers = header
        parent.sendall(_ANSWER.pack(are_pixels, is_last, *numbers, len(body)))
        parent.sendall(body)
        if is_last:
            break
    return 0


def _decode_next(
    parent: socket.socket, memory_bytes: int
) -> tuple[tuple[bool, int, int], bytes]:
    order = _read(parent, _ORDER.size)
    version, first, second, cpu_seconds, count = _ORDER.unpack(order)
    image = _read(parent, count)
    # Counts what all threads of this process use; its signal ends it.
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        if version == _THUMBNAIL:
            pixels = decode_thumbnail(image, first)
        else:
            pixels = decode_image(image, (first, second), _VERSIONS[version])
        return (True, *pixels.shape[:2]), pixels.tobytes()
    except (InvalidImageError, MemoryError) as error:
        refusal = _refusal(error, memory_bytes)
        code = refusal.code.encode()
        return (False, len(code), 0), code + str(refusal).encode(errors="replace")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _refusal(
    error: InvalidImageError | MemoryError, memory_bytes: int
) -> InvalidImageError:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MemoryError):
        cause = cause.__cause__
    if cause is None and isinstance(error, InvalidImageError):
        return error
    return _limit_passed(f"more than {memory_bytes // 10**6:,} MB of memory")


def _read(parent: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = parent.recv(count, socket.MSG_WAITALL)
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _exit_with(parent: socket.socket) -> None:
    # Not PR_SET_PDEATHSIG: that is sent when the thread that started us ends.
    poll = select.poll()
    poll.register(parent, 0)  # POLLHUP is always reported
    poll.poll()
    os._exit(0)


def _lower_priority(niceness: int) -> None:
    # A stop signal to the whole process group is the parent's: its end ends the child.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    os.nice(niceness)
    with suppress(OSError):
        # Linux: killed first when memory runs out.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit_memory(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = _statm(0)
    with suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = taken + memory_bytes
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _resident_bytes() -> int:
    return _statm(1)


def _statm(field: int) -> int:
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0  # not Linux
    return int(fields[field]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
