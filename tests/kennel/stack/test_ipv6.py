"""IPv6 addresses, `::1`, `[::1]` and `::`, wherever an address is accepted."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kennel.client import Client
from kennel.client.errors import ApiError
from kennel.settings import KennelSettings
from kennel.stack.local_stack import LocalStack, StackOptions
from kennel.stack.supervisor import choose_port
from models.environment import host_and_port, parse_model_address, read_redis_url
from models.errors import InvalidRequestError
from models.wire.client import ModelServerClient
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.pictures import write_folder
from tests.processes import running, wait_until
from tests.service.served_model import ServedModel


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on this machine")


class Redis(RedisServer):
    def options(self) -> dict[str, str]:
        return {**super().options(), "bind": "127.0.0.1 ::1"}


@pytest.mark.parametrize("host", ["::g", "192.0.2.1", "nowhere.invalid"])
def test_host_that_is_not_ours_is_told_from_a_port_that_is_taken(host: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"is no address of .* with --host"):
        choose_port(0, host, "--port")


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "::"])
def test_api_and_its_neighbours_are_reached(tmp_path: Path, host: str) -> None:
    port = choose_port(0, host, "--port")
    redis = Redis(tmp_path)
    redis.start()
    served = ServedModel()
    served.host = "[::1]"
    photo = tmp_path / "data" / "test" / "1.png"
    write_folder(photo.parent, 1)
    with served:
        env = {
            **os.environ,
            "HOST": host,
            "PORT": str(port),
            "MODEL_SERVER": served.target,
            "MODEL_NAMES": "pets",
            "REDIS_URL": f"redis://[::1]:{redis.port}/0",
            "KENNEL_HOME": str(tmp_path),
            "WEB_WORKERS": "1",
        }
        client = Client(f"http://[::1]:{port}", retries=0)
        with running("service.main", env=env, log=tmp_path / "log"):
            wait_until(lambda: _is_ready(client), "readiness", 60)
            answer = client.predict(sorted(photo.parent.iterdir()))
            job = client.submit("test")
    redis.kill()

    assert answer.model == "pets"
    assert job.state == "queued"


def _is_ready(client: Client) -> bool:
    with suppress(ApiError):
        return bool(client.readiness())
    return False


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]", "::"])
def test_stack_chooses_a_port_and_prints_a_url(tmp_path: Path, host: str) -> None:
    settings = KennelSettings.from_env({"KENNEL_HOME": str(tmp_path)})
    options = StackOptions(host, 0, 0, 0)

    stack = LocalStack(settings, options, print)

    bare = host.strip("[]")
    assert stack.url.startswith(f"http://[{bare}]:")
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind((bare, 0))
        port = taken.getsockname()[1]
        with pytest.raises(InvalidRequestError, match=f"port {port} on "):
            choose_port(port, host, "--port")


@needs_ipv6
@pytest.mark.tensorflow
def test_embedded_model_server_listens(tmp_path: Path) -> None:
    from models.server.main import ServerOptions, make_versions, start_server

    port = choose_port(0, "::1", "--port")
    options = ServerOptions(port=port, host="::1", model_base_path=tmp_path)
    server = start_server(make_versions(options, threading.Event()), options)
    try:
        with socket.create_connection(("::1", port), timeout=5):
            pass
    finally:
        server.stop(0).wait()


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("::1", "[::1]:8000"),
        ("[::1]", "[::1]:8000"),
        ("127.0.0.1", "127.0.0.1:8000"),
        ("localhost", "localhost:8000"),
    ],
)
def test_host_and_port_are_written_as_urls_are(host: str, text: str) -> None:
    assert host_and_port(host, 8000) == text
    assert ServiceSettings.from_env({"HOST": host}).bind == text


def test_address_without_brackets_is_refused_with_the_remedy() -> None:
    refused: list[Callable[[], object]] = [
        lambda: Client("http://::1:8000"),
        lambda: ModelServerClient("::1:8500"),
        lambda: parse_model_address("fe80::1:8500"),
        lambda: read_redis_url({"R": "redis://::1:6379/0"}, "R", "redis://a/0"),
        lambda: read_redis_url({"R": "redis://[::1/0"}, "R", "redis://a/0"),
    ]
    for make in refused:
        with pytest.raises(InvalidRequestError, match=r"brackets.*\[::1\]"):
            make()
