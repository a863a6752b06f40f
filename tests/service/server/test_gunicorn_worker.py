"""Malformed requests and bad clients against the real gunicorn.

After each of them the service must answer a good request at once, with four threads.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.pictures import grey, noise
from tests.processes import free_port, is_listening, running, wait_until
from tests.service.served_model import ServedModel
from tests.service.server.test_process import Api

pytestmark = pytest.mark.usefixtures("unharmed")

BODY_SECONDS = 1.0
BAD = 400


def post(*headers: str, body: bytes = b"", path: str = "/v1/predict") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1") + body


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1")


def form(*parts: bytes, boundary: bytes = b"x") -> bytes:
    body = (
        b"".join(b"--x\r\n%b\r\n" % part for part in parts) + b"--%b--\r\n" % boundary
    )
    kind = "Content-Type: multipart/form-data; boundary=x"
    return post(kind, f"Content-Length: {len(body)}", body=body)


def field(name: str, content: bytes = b"1") -> bytes:
    return b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (
        name.encode(),
        content,
    )


PNG = grey(9)
IMAGE = "Content-Type: image/png"
CHUNKED = "Transfer-Encoding: chunked"

REQUESTS: dict[str, tuple[bytes, int]] = {
    # framing
    "length and chunks": (post(IMAGE, CHUNKED, "Content-Length: 3", body=b"abc"), BAD),
    "two lengths": (post("Content-Length: 3", "Content-Length: 4", body=b"abcd"), BAD),
    "two equal lengths": (post("Content-Length: 3", "Content-Length: 3"), BAD),
    "negative length": (post(IMAGE, "Content-Length: -1"), BAD),
    "signed length": (post(IMAGE, "Content-Length: +3", body=b"abc"), BAD),
    "huge length": (post(IMAGE, f"Content-Length: {10**30}"), 413),
    "gzip, chunked": (post(IMAGE, "Transfer-Encoding: gzip, chunked"), 501),
    "chunked twice": (post(IMAGE, CHUNKED, CHUNKED), BAD),
    "unknown coding": (post(IMAGE, "Transfer-Encoding: rot13"), 501),
    "chunk size is no number": (post(IMAGE, CHUNKED, body=b"zz\r\nab\r\n"), BAD),
    "negative chunk size": (post(IMAGE, CHUNKED, body=b"-1\r\nab\r\n"), BAD),
    "chunk without its end": (
        post(IMAGE, CHUNKED, body=b"2\r\nabcd\r\n0\r\n\r\n"),
        BAD,
    ),
    "endless chunk size": (post(IMAGE, CHUNKED, body=b"0" * 20_000), BAD),
    "forbidden trailer": (
        post(IMAGE, CHUNKED, body=b"0\r\nContent-Length: 5\r\n\r\n"),
        BAD,
    ),
    "folded header": (get("/livez", "X-A: b\r\n c"), BAD),
    "bare line feeds": (b"GET /livez HTTP/1.1\nHost: kennel\n\n", BAD),
    "bad chunks nobody reads": (
        get("/livez", CHUNKED, "Connection: close") + b"zz\r\n",
        200,
    ),
    # size
    "10,000 headers": (get("/livez", *(f"X-{n}: 1" for n in range(10_000))), 431),
    "1 MB header": (get("/livez", "X-A: " + "a" * 1_000_000), 431),
    "long request line": (get("/" + "a" * 10_000), 414),
    "long request line without end": (b"GET /" + b"a" * 100_000, 414),
    # request line
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", BAD),
    "HTTP/9.9": (b"GET /livez HTTP/9.9\r\n\r\n", BAD),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD),
    "unknown method": (get("/livez", method="BREW"), 405),
    "lower-case method": (get("/livez", method="get"), BAD),
    "TRACE": (get("/livez", method="TRACE"), 405),
    "CONNECT": (get("kennel:443", method="CONNECT"), 404),
    "OPTIONS *": (get("*", method="OPTIONS"), 404),
    "somebody else's URL": (get("http://evil/livez"), 200),
    "space in the path": (get("/liv ez"), BAD),
    "raw UTF-8 in the path": (get("/caf\xc3\xa9"), BAD),
    # paths
    "dots": (get("/v1/../../etc/passwd"), 404),
    "encoded dots": (get("/v1/%2e%2e/%2e%2e/etc/passwd"), 404),
    "dots in a job": (get("/v1/jobs/..%2f..%2fetc/submission.csv"), 404),
    "double slash": (get("//etc/passwd"), 404),
    "NUL": (get("/v1/models/pets%00"), 404),
    "NUL in a job": (get("/v1/jobs/a%00b"), 404),
    "overlong UTF-8": (get("/%c0%ae%c0%ae/etc/passwd"), 404),
    "parameters": (get("/livez;a=b"), 404),
    "backslashes": (get("/v1/jobs/..%5c..%5cetc"), 404),
    # headers
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 200),
    "two hosts": (get("/livez", "Host: evil"), BAD),
    "odd host": (b"GET /livez HTTP/1.1\r\nHost: a b'\"<>\r\n\r\n", 200),
    "foreign host": (b"GET /v1/models HTTP/1.1\r\nHost: evil\r\n\r\n", 421),
    "empty host": (b"GET /v1/models HTTP/1.1\r\nHost:\r\n\r\n", 421),
    "no host in HTTP 1.0": (b"GET /v1/models HTTP/1.0\r\n\r\n", 200),
    "foreign page": (post(IMAGE, "Content-Length: 0", "Origin: http://evil"), 403),
    "huge request id": (get("/livez", "X-Request-ID: " + "a" * 8000), 200),
    "CR in a header": (get("/livez", "X-Request-ID: a\rX-Evil: 1"), BAD),
    "NUL in a header": (get("/livez", "X-A: a\0b"), BAD),
    "header without a name": (get("/livez", ": a"), BAD),
    "space before a colon": (get("/livez", "X-A : a"), BAD),
    "Expect of something": (post(IMAGE, "Expect: the-impossible"), 417),
    # bodies
    "many parts": (form(*[field("image")] * 10_000), 413),
    "many fields": (form(*[field("a")] * 10_000), 413),
    "wrong boundary": (form(field("image", PNG), boundary=b"y"), BAD),
    "no boundary": (
        post("Content-Type: multipart/form-data", "Content-Length: 3", body=b"abc"),
        BAD,
    ),
    "part without headers": (form(b"\r\n" + PNG), BAD),
    "body on GET": (
        get("/livez", "Content-Length: 9") + b"123456789" + get("/livez"),
        200,
    ),
    "body shorter than said": (post(IMAGE, "Content-Length: 99", body=PNG[:50]), 408),
    "slow body": (post(IMAGE, CHUNKED, body=b"5\r\nab"), 408),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("hostile")
    spool = folder / "spool"
    spool.mkdir()
    port, log = free_port(), folder / "api.log"
    with ServedModel() as served:
        environment = {
            **os.environ,
            "PORT": str(port),
            "MODEL_SERVER": served.target,
            "MODEL_NAMES": "pets",
            "KENNEL_HOME": str(folder),
            "TMPDIR": str(spool),
            "WEB_WORKERS": "1",
            "WEB_THREADS": "4",
            "BODY_TIMEOUT_SECONDS": str(BODY_SECONDS),
        }
        with running("service.main", env=environment, log=log) as process:
            wait_until(lambda: is_listening(port), "gunicorn listens")
            started = Api(process, port, log)
            # Its process is not there yet, and connections below wait 5 seconds only.
            assert started.ask("GET", "/livez")[0] == 200
            yield started


@pytest.fixture
def unharmed(api: Api) -> Iterator[None]:
    """After each test the service answers a good request, and has cleaned up."""
    yield
    status, answer = api.ask("POST", "/v1/predict", noise(1))
    assert (status, "predictions" in answer) == (200, True)
    wait_until(lambda: not open_spools(api), "spooled uploads are gone")
    assert "Traceback" not in api.log.read_text()


def connect(api: Api) -> socket.socket:
    return socket.create_connection(("127.0.0.1", api.port), timeout=5)


def answer_to(api: Api, request: bytes) -> bytes:
    """All that the service sends back until it closes."""
    with closing(connect(api)) as connection:
        try:
            connection.sendall(request)
            return read_all(connection)
        except ConnectionError:
            return b""


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while not has_whole_answer(received):
        part = connection.recv(65_536)
        if not part:
            break
        received += part
    return received


def has_whole_answer(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end or b"\r\nContent-Length: " not in head:
        return False
    length = head.split(b"\r\nContent-Length: ")[1].split(b"\r\n")[0]
    return len(body) >= int(length)


def open_spools(api: Api) -> list[str]:
    folder = str(api.log.parent / "spool")
    spools = [str(each) for each in Path(folder).iterdir()]
    for worker in api.workers():
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:
                continue
            spools += [target] if target.startswith(folder) else []
    return spools


@pytest.mark.parametrize("case", REQUESTS)
def test_hostile_request_is_refused(api: Api, case: str) -> None:
    request, status = REQUESTS[case]

    answer = answer_to(api, request)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(answer.split(b" ")[1]) == status
    assert b"X-Evil" not in head
    for secret in (b"Traceback", b"site-packages", b'File "', b"gunicorn/", b"/tmp"):
        assert secret not in answer
    if status >= 400:
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == status


def in_chunks(body: bytes) -> bytes:
    """*body* as one chunk, without the last chunk, which is empty."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def shortened(kind: str, body: bytes, path: str = "/v1/predict") -> bytes:
    """A request that ends three bytes before it should."""
    length = f"Content-Length: {len(body) + 3}"
    return post(f"Content-Type: {kind}", length, body=body, path=path)


FORM = form(field("image", PNG)).partition(b"\r\n\r\n")[2]
PHOTOS = json.dumps({"images": [b64encode(PNG).decode()]}).encode()
CUT_OFF: dict[str, bytes] = {
    "image": shortened("image/png", PNG),
    "bytes": shortened("application/octet-stream", PNG),
    "form": shortened("multipart/form-data; boundary=x", FORM),
    "JSON": shortened("application/json", PHOTOS),
    "rows of TensorFlow Serving": shortened(
        "application/json", b'{"instances": []}', "/v1/models/pets:predict"
    ),
    "tensors": shortened("application/json", b"{}", "/v2/models/pets/infer"),
    "explanation": shortened("image/png", PNG, "/v1/explain"),
    "job": shortened("application/json", b'{"input": "a"}', "/v1/jobs"),
    "archive": shortened("application/zip", b"PK", "/v1/jobs"),
    "archive in a form": shortened(
        "multipart/form-data; boundary=x",
        FORM.replace(b"image", b"archive"),
        "/v1/jobs",
    ),
    "nothing": shortened("image/png", b""),
    "no last chunk": post(IMAGE, CHUNKED, body=in_chunks(PNG)),
    "no end of the last chunk": post(IMAGE, CHUNKED, body=in_chunks(PNG) + b"0\r\n"),
    "half a chunk": post(IMAGE, CHUNKED, body=in_chunks(PNG)[:-5]),
    "half a chunk's size": post(IMAGE, CHUNKED, body=in_chunks(PNG) + b"1"),
    "chunked archive": post(
        "Content-Type: application/zip", CHUNKED, body=b"2\r\nPK\r\n", path="/v1/jobs"
    ),
}


@pytest.mark.parametrize("case", CUT_OFF)
def test_body_that_breaks_off_is_not_judged(api: Api, case: str) -> None:
    with closing(connect(api)) as connection:
        connection.sendall(CUT_OFF[case])
        connection.shutdown(socket.SHUT_WR)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")

    problem = json.loads(body)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert problem["code"] == "bad_request"
    assert "send it anew" in problem["detail"]
    assert ("3 of" in problem["detail"]) == (b"chunked" not in CUT_OFF[case])


def test_unread_body_is_not_answered_a_second_time(api: Api) -> None:
    request = get("/livez", CHUNKED) + b"zz\r\n"
    with closing(connect(api)) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answer.count(b"HTTP/1.1 ") == 1


def test_client_may_ask_before_it_sends_its_body(api: Api) -> None:
    with closing(connect(api)) as connection:
        connection.sendall(
            post(IMAGE, "Expect: 100-continue", f"Content-Length: {len(PNG)}")
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(PNG)

        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


def test_half_sent_requests_are_given_up(api: Api) -> None:
    """As many as there are threads; a half-sent head is closed without an answer."""
    body = post(IMAGE, "Content-Length: 5000")
    with ExitStack() as stack:
        waiting = [stack.enter_context(closing(connect(api))) for _ in range(4)]
        for connection, half in zip(waiting, (body, body[:50]) * 2, strict=True):
            connection.sendall(half)
        answers = [connection.recv(65_536) for connection in waiting]

    assert [answer.split(b" ")[1:2] for answer in answers] == [[b"408"], []] * 2


def test_aborted_upload_leaves_no_file(api: Api) -> None:
    part = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    kind = "Content-Type: multipart/form-data; boundary=x"
    with closing(connect(api)) as connection:
        connection.sendall(
            post(kind, "Content-Length: 2000000", body=b"--x\r\n" + part)
        )
        connection.sendall(bytes(1_000_000))
        wait_until(lambda: open_spools(api), "the upload is spooled")
        abort = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)


def test_key_in_a_broken_header_is_not_logged(api: Api) -> None:
    answer = answer_to(api, get("/livez", "Authorization: Bearer kennel_secret\x01"))

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "kennel_secret" not in api.log.read_text() + answer.decode()
