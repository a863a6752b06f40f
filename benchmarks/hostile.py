"""Large and hostile images: growth of the API processes, and latency of other photos.

`python -m benchmarks.hostile`: 8 clients post 1,000 images that are large, slow to decode,
damaged or no images, while ordinary photos come at a fixed rate. `--metadata small` posts
four images with hostile metadata at once, each second, instead; with `large` some of them
have 30 MB. `--cases` says what each kind costs alone.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from urllib.parse import urlsplit

import click
import numpy as np
from PIL import Image

from benchmarks.harness.background import repeating
from benchmarks.harness.load import (
    LoadResult,
    Outcome,
    Target,
    percentile,
    photo_form,
)
from benchmarks.harness.photos import camera_jpeg
from benchmarks.harness.stack import (
    peak_megabytes,
    resident_megabytes,
    tree,
    trivial_stack,
)

CLIENTS = 8
RATE = 10.0
"""Ordinary photos a second."""

BURSTS = 30
SMALL_METADATA = ("19,900 Exif segments", "flood of frames")
METADATA = {
    "small": SMALL_METADATA,
    "large": (*SMALL_METADATA, "Exif value of 4 million numbers"),
}
"""Images that would take a decoder seconds or gigabytes."""

_WIDE = (8_160, 6_120)
"""Just below 50 megapixels."""


@dataclass(frozen=True)
class Body:
    """One request's body and its Content-Type."""

    content: bytes
    kind: str = "image/jpeg"


@click.command()
@click.option("--images", default=1_000, show_default=True)
@click.option(
    "--metadata",
    type=click.Choice([*METADATA]),
    help="Post four images at once with such metadata.",
)
@click.option("--cases", is_flag=True, help="Post each kind alone, ten times.")
def main(images: int, metadata: str | None, cases: bool) -> None:
    """Print the memory of each API process, and the latency of photos meanwhile."""
    bodies = hostile_bodies()
    with trivial_stack() as (stack, target):
        _, *workers = tree(stack.pids()["api"])
        if cases:
            _print_cases(bodies, target.url, workers)
            return
        quiet = target.rate(RATE, 15.0)
        before = [resident_megabytes(pid) for pid in workers]
        with _photos_meanwhile(target) as photos, _peak_of_children(workers) as most:
            began = time.monotonic()
            if metadata:
                chosen = [bodies[name] for name in METADATA[metadata]]
                statuses = _post_bursts(chosen, target.url)
            else:
                statuses = post_all(bodies, target.url, images)
            seconds = time.monotonic() - began
        after = [resident_megabytes(pid) for pid in workers]
        peaks = [peak_megabytes(pid) for pid in workers]
    click.echo(
        f"{statuses.total():,} hostile images in {seconds:.0f} s: "
        f"{dict(sorted(statuses.items()))}"
    )
    click.echo(
        f"API processes {_list(before)} MB, peaks {_list(peaks)} MB, then {_list(after)} "
        f"MB; processes for decoding together at most {max(most):.0f} MB"
    )
    _print_photos(quiet, photos)


def _print_photos(quiet: LoadResult, photos: list[Outcome]) -> None:
    seconds = [each.seconds for each in photos if each.status == 200]
    statuses = dict(sorted(Counter(each.status for each in photos).items()))
    parts = []
    for percent in (50, 99):
        alone, now = quiet.milliseconds(percent), 1000 * percentile(seconds, percent)
        parts.append(f"p{percent} {now:.1f} ms, {now / alone:.1f} times {alone:.1f} ms")
    click.echo(f"photos meanwhile: {statuses}, {'; '.join(parts)} when it is quiet")


def _print_cases(bodies: Mapping[str, Body], url: str, workers: list[int]) -> None:
    for name, body in bodies.items():
        began = time.monotonic()
        statuses = Counter(_post(url, body) for _ in range(10))
        seconds = (time.monotonic() - began) / 10
        memory = _list([resident_megabytes(pid) for pid in workers])
        click.echo(
            f"{name}, {len(body.content) / 1e6:.1f} MB: {dict(statuses)}, "
            f"{seconds:.2f} s each; API processes {memory} MB"
        )


def hostile_bodies() -> dict[str, Body]:
    """The hostile bodies by name."""
    wide = Image.fromarray(np.asarray(_photo((4_080, 3_060)))).resize(_WIDE)
    photo = _encoded(_photo((4_000, 3_000)), "JPEG", quality=88)
    clear = Image.new("RGBA", _WIDE, (9, 99, 199, 80))
    ordinary = camera_jpeg(1)
    return {
        "12 megapixels": Body(photo),
        "50 megapixels": Body(_encoded(wide, "JPEG", quality=60)),
        "50 megapixels, progressive": Body(
            _encoded(wide, "JPEG", quality=50, progressive=True)
        ),
        "50 megapixels in few bytes": Body(_encoded(Image.new("1", _WIDE), "PNG")),
        "50 megapixels, transparent PNG": Body(_encoded(clear, "PNG")),
        "50 megapixels, transparent WebP": Body(_encoded(clear, "WEBP", method=0)),
        "100 megapixels": Body(_encoded(Image.new("1", (10_000, 10_000)), "PNG")),
        "photo with 30 MB behind it": Body(ordinary + bytes(30_000_000)),
        "30 MB of nothing": Body(bytes(30_000_000)),
        "half a photo": Body(photo[: len(photo) // 2]),
        "form of large photos": Body(*photo_form([photo] * (60_000_000 // len(photo)))),
        "JSON of large photos": Body(_json([photo] * 6), "application/json"),
        "19,900 Exif segments": Body(_padded(ordinary, _exif(1) * 19_900)),
        "Exif value of 4 million numbers": Body(_padded_tiff(3_800_000)),
        "flood of frames": Body(_padded(ordinary, _frame(ordinary) * 20_000)),
    }


def _photo(size: tuple[int, int]) -> Image.Image:
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _json(images: list[bytes]) -> bytes:
    texts = [base64.b64encode(image).decode() for image in images]
    return json.dumps({"images": texts}).encode()


def _padded(jpeg: bytes, segments: bytes) -> bytes:
    return jpeg[:2] + segments + jpeg[2:]


def _segment(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content


def _exif(entries: int) -> bytes:
    entry = struct.pack("<HHII", 0x0112, 3, 1, 1)
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + entry * entries
    return _segment(b"Exif\0\0" + tiff + bytes(4))


def _padded_tiff(values: int) -> bytes:
    # Rational numbers in a PNG's Exif chunk, which may be of any length.
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x011A, 5, values, 26)
    image = Image.new("L", (64, 64))
    return _encoded(image, "PNG", exif=tiff + bytes(4 + 8 * values))


def _frame(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xc0")
    return jpeg[start : start + 2 + int.from_bytes(jpeg[start + 2 : start + 4])]


def post_all(bodies: Mapping[str, Body], url: str, images: int) -> Counter[int]:
    """The statuses of *images* posts of *bodies* in turn, by `CLIENTS` at a time."""
    turns = [body for _ in range(images) for body in bodies.values()][:images]
    with ThreadPoolExecutor(CLIENTS) as clients:
        return Counter(clients.map(lambda body: _post(url, body), turns))


def _post_bursts(bodies: list[Body], url: str) -> Counter[int]:
    turns = cycle(bodies)
    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(4) as clients:
        for _ in range(BURSTS):
            due = time.monotonic() + 1
            burst = list(islice(turns, 4))
            statuses.update(clients.map(lambda body: _post(url, body), burst))
            time.sleep(max(0.0, due - time.monotonic()))
    return statuses


def _post(url: str, body: Body) -> int:
    """The status of the answer; 0: the connection broke."""
    parts = urlsplit(url)
    headers = {"Content-Type": body.kind, "X-Request-Timeout-Ms": "25000"}
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    with closing(connection):
        try:
            path = f"{parts.path}?{parts.query}"
            connection.request("POST", path, body.content, headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            return 0
        return response.status


@contextmanager
def _photos_meanwhile(target: Target) -> Iterator[list[Outcome]]:
    """The outcomes of ordinary photos during the block."""
    outcomes: list[Outcome] = []
    with repeating(lambda: outcomes.extend(target.rate(RATE, 5.0).outcomes)):
        yield outcomes


@contextmanager
def _peak_of_children(workers: list[int]) -> Iterator[list[float]]:
    """Megabytes of all children of *workers* together, ten times a second."""
    seen = [0.0]

    def look() -> None:
        children = [each for pid in workers for each in tree(pid)[1:]]
        seen.append(sum(map(_megabytes_or_none, children)))

    with repeating(look, 0.1):
        yield seen


def _megabytes_or_none(pid: int) -> float:
    try:
        return resident_megabytes(pid)
    except (OSError, LookupError):
        return 0.0


def _list(megabytes: list[float]) -> str:
    return " and ".join(f"{each:.0f}" for each in megabytes)


if __name__ == "__main__":
    main()
