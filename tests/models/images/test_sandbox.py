"""Images decoded in child processes: the same pixels, and limits that hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import InvalidImageError
from models.images.codec import decode_image, decode_thumbnail
from models.images.sandbox import DecodeLimits, DecodeSandbox, is_heavy
from tests.models.images.handmade import huge_png
from tests.pictures import encoded, grey, noise
from tests.processes import wait_until

SIZE = (32, 24)
PHOTO = noise(1)
SLOW = huge_png(8_000, 6_000)
"""6 kB of 48 legal megapixels: about 0.2 s of a core and 250 MB."""

_LYING = Image.Exif()
_LYING[0x0112] = 6

KINDS = {
    "JPEG": noise(1, (300, 200)),
    "lying JPEG": encoded(Image.linear_gradient("L"), "JPEG", exif=_LYING),
    "grey PNG": encoded(Image.new("L", (60, 50), 77)),
    "transparent PNG": encoded(Image.new("RGBA", (60, 50), (9, 99, 199, 80))),
    "palette GIF": encoded(Image.new("P", (60, 50), 3), "GIF"),
    "WebP": noise(2, (64, 64), "WEBP"),
    "BMP": noise(3, (5, 7), "BMP"),
    "48 megapixels": SLOW,
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits(cpu_seconds=20)) as shared:
        yield shared


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_this_process(sandbox: DecodeSandbox, kind: str) -> None:
    pixels = sandbox.decode(KINDS[kind], SIZE)

    assert pixels.dtype == np.uint8
    assert pixels.shape == (*SIZE, 3)
    assert (pixels == decode_image(KINDS[kind], SIZE)).all()


def test_thumbnail_is_that_of_this_process(sandbox: DecodeSandbox) -> None:
    thumbnail = sandbox.thumbnail(PHOTO, 20)

    assert (thumbnail == decode_thumbnail(PHOTO, 20)).all()


@pytest.mark.parametrize("image", [b"", b"hello", PHOTO[:-400], huge_png(9_000, 9_000)])
def test_bad_image_is_refused_as_in_this_process(
    sandbox: DecodeSandbox, image: bytes
) -> None:
    with pytest.raises(InvalidImageError) as here:
        decode_image(image, SIZE)
    with pytest.raises(InvalidImageError) as there:
        sandbox.decode(image, SIZE)

    assert (there.value.code, str(there.value)) == (here.value.code, str(here.value))


def test_one_process_serves_calls_one_after_the_other() -> None:
    with DecodeSandbox() as sandbox:
        assert not any(sandbox.pids)
        sandbox.decode(PHOTO, SIZE)
        [pid] = sandbox.pids
        sandbox.decode(PHOTO, SIZE)

        assert sandbox.pids == (pid,)
    assert _is_gone(pid)


def test_image_above_the_processor_limit_is_refused_and_the_next_one_is_not() -> None:
    with DecodeSandbox(DecodeLimits(cpu_seconds=0.03)) as sandbox:
        with pytest.raises(
            InvalidImageError, match=r"0\.03 s of a processor"
        ) as refusal:
            sandbox.decode(SLOW, SIZE)

        assert refusal.value.code == "too_complex"
        assert sandbox.decode(PHOTO, SIZE).shape == (*SIZE, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits address space")
def test_image_above_the_memory_limit_is_refused_and_the_next_one_is_not() -> None:
    with DecodeSandbox(DecodeLimits(memory_bytes=100_000_000)) as sandbox:
        with pytest.raises(InvalidImageError, match="100 MB of memory") as refusal:
            sandbox.decode(SLOW, SIZE)

        assert refusal.value.code == "too_complex"
        assert sandbox.decode(PHOTO, SIZE).shape == (*SIZE, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits address space")
def test_transparent_image_takes_little_more_than_its_pixels() -> None:
    """16 megapixels of 4 bytes, and as many for what becomes of them."""
    image = encoded(Image.new("RGBA", (4000, 4000), (9, 99, 199, 80)))
    with DecodeSandbox(DecodeLimits(memory_bytes=170_000_000)) as sandbox:
        assert sandbox.decode(image, SIZE).shape == (*SIZE, 3)


def test_image_above_the_time_limit_is_refused() -> None:
    with DecodeSandbox() as sandbox:
        pid = _stopped_child(sandbox)
        sandbox.limits = DecodeLimits(wall_seconds=0.05)

        with pytest.raises(InvalidImageError, match=r"0\.05 s"):
            sandbox.decode(PHOTO, SIZE)
        assert _is_gone(pid)


def test_abandoned_decode_is_killed() -> None:
    with DecodeSandbox() as sandbox:
        pid = _stopped_child(sandbox)

        with pytest.raises(TimeoutError):
            sandbox.decode(PHOTO, SIZE, seconds=0.05)
        assert _is_gone(pid)
        assert not any(sandbox.pids)


def test_child_killed_in_the_middle_costs_no_answer() -> None:
    with DecodeSandbox() as sandbox, ThreadPoolExecutor() as threads:
        pid = _stopped_child(sandbox)
        decoded = threads.submit(sandbox.decode, PHOTO, SIZE)
        wait_until(lambda: sandbox.in_work, "the photo is with the child")
        os.kill(pid, signal.SIGKILL)

        assert (decoded.result() == decode_image(PHOTO, SIZE)).all()


def test_others_are_answered_while_one_is_decoded() -> None:
    with DecodeSandbox() as sandbox, ThreadPoolExecutor() as threads:
        _stopped_child(sandbox)
        held = threads.submit(sandbox.decode, PHOTO, SIZE)
        wait_until(lambda: sandbox.in_work, "the photo is with the child")

        assert sandbox.decode(PHOTO, SIZE).shape == (*SIZE, 3)
        assert not held.done()
        sandbox.close()
        assert isinstance(held.exception(), TimeoutError)


def test_idle_children_end_and_new_ones_begin() -> None:
    with DecodeSandbox(DecodeLimits(idle_seconds=0.05)) as sandbox:
        for _ in range(2):
            sandbox.decode(PHOTO, SIZE)
            wait_until(lambda: not sandbox.pids, "the idle child has ended")


def test_child_gives_way_to_another_after_so_many_images() -> None:
    with DecodeSandbox(DecodeLimits(images=2)) as sandbox:
        seen: set[int] = set()
        for _ in range(4):
            sandbox.decode(PHOTO, SIZE)
            seen.update(sandbox.pids)

    assert len(seen) == 2


def test_children_see_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "mellon")
    with DecodeSandbox() as sandbox:
        sandbox.decode(PHOTO, SIZE)
        [pid] = sandbox.pids

        assert b"mellon" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_children_give_way_to_other_processes() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with DecodeSandbox(DecodeLimits(niceness=7)) as sandbox:
        sandbox.decode(PHOTO, SIZE)
        [pid] = sandbox.pids

        assert os.getpriority(os.PRIO_PROCESS, pid) == min(own + 7, 19)


def test_stop_signals_leave_the_end_to_the_parent() -> None:
    with DecodeSandbox() as sandbox:
        sandbox.decode(PHOTO, SIZE)
        [pid] = sandbox.pids
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)

        sandbox.decode(PHOTO, SIZE)
        assert sandbox.pids == (pid,)


_PARENT = """
import sys, threading
from models.images.sandbox import DecodeSandbox
sandbox = DecodeSandbox()
sandbox.decode(bytes.fromhex(sys.argv[1]), (8, 8))
print(*sandbox.pids, flush=True)
threading.Event().wait()
"""


def test_killed_parent_leaves_no_child() -> None:
    command = [sys.executable, "-c", _PARENT, grey(9).hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not _is_gone(pid)
        parent.kill()

    wait_until(lambda: _is_gone(pid), "the child has ended", 5)


def test_process_with_an_open_sandbox_ends_like_any_other() -> None:
    script = _PARENT.replace("threading.Event().wait()", "")
    command = [sys.executable, "-W", "error", "-c", script, grey(9).hex()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stderr) == (0, "")
    assert _is_gone(int(done.stdout))


def test_forgotten_sandbox_leaves_no_child() -> None:
    sandbox = DecodeSandbox()
    sandbox.decode(PHOTO, SIZE)
    [pid] = sandbox.pids
    del sandbox

    assert _is_gone(pid)


def test_photos_of_phones_are_not_heavy_and_bombs_are() -> None:
    assert not is_heavy(encoded(Image.new("L", (4000, 3000)), "JPEG"))
    assert not is_heavy(b"hello")
    assert is_heavy(SLOW)
    assert is_heavy(PHOTO + bytes(8 * 1024 * 1024))


def _stopped_child(sandbox: DecodeSandbox) -> int:
    """The one child of *sandbox*, which will not answer any more."""
    sandbox.decode(PHOTO, SIZE)
    [pid] = sandbox.pids
    os.kill(pid, signal.SIGSTOP)
    return pid


def _is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"
