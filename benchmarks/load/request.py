"""The one request that everybody is asked: a 500x375 JPEG."""

from __future__ import annotations

from urllib.parse import urlsplit

from benchmarks.photos import camera_jpeg

_BOUNDARY = "a-boundary-that-no-photo-holds"


def photo_request(url: str, *, form: bool) -> tuple[tuple[str, int], bytes]:
    """Address and bytes of a POST to *url*: the photo as the body or in a *form*."""
    parts = urlsplit(url)
    image = camera_jpeg(1)
    kind = "image/jpeg"
    if form:
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        image = _form(image)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(image)}\r\n"
        # A slow machine's 32 clients wait longer than Kennel lets them by default.
        "X-Request-Timeout-Ms: 25000\r\n\r\n"
    )
    return (parts.hostname or "127.0.0.1", parts.port or 80), head.encode() + image


def _form(image: bytes) -> bytes:
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
