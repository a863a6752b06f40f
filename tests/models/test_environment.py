"""Addresses of Redis and of model servers in environment variables; the processor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.environment import (
    ModelAddress,
    parse_model_address,
    processor_flags,
    processor_name,
    read_redis_url,
)
from models.errors import (
    InvalidRequestError,
)

LOCAL = "redis://127.0.0.1:6379/0"


def read(**env: str) -> str:
    return read_redis_url(env, "REDIS_URL", LOCAL)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://kennel@redis:6379/0", "redis://kennel:se%2Fcret@redis:6379/0"),
        ("rediss://kennel:@redis/1", "rediss://kennel:@redis/1"),
        ("redis://redis:6379/0", "redis://:se%2Fcret@redis:6379/0"),
        ("redis://kennel:own@redis:6379/0", "redis://kennel:own@redis:6379/0"),
        (
            "unix://kennel@/run/redis.sock?db=1",
            "unix://kennel:se%2Fcret@/run/redis.sock?db=1",
        ),
    ],
)
def test_the_password_comes_from_its_file(
    tmp_path: Path, url: str, expected: str
) -> None:
    file = tmp_path / "password"
    file.write_text("se/cret\n")

    assert read(REDIS_URL=url, REDIS_PASSWORD_FILE=str(file)) == expected


def test_without_a_file_the_url_is_as_it_stands() -> None:
    assert read() == LOCAL
    assert read(REDIS_URL="redis://a:b@redis", REDIS_PASSWORD_FILE="") == (
        "redis://a:b@redis"
    )


def test_an_empty_or_missing_file_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "password"
    empty.write_text("\n")

    with pytest.raises(InvalidRequestError, match="password' is empty"):
        read(REDIS_PASSWORD_FILE=str(empty))
    with pytest.raises(
        InvalidRequestError, match=r"REDIS_PASSWORD_FILE=.*cannot be read"
    ):
        read(REDIS_PASSWORD_FILE=str(tmp_path / "none"))


def test_a_url_that_is_none_is_not_repeated() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(REDIS_URL="http://:secret@redis")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8500", ModelAddress("127.0.0.1:8500", may_be_several=False)),
        ("[::1]:8500", ModelAddress("[::1]:8500", may_be_several=False)),
        ("models:8500", ModelAddress("models:8500", may_be_several=True)),
        ("dns:///models:1", ModelAddress("dns:///models:1", may_be_several=True)),
        ("10.0.0.1:1,10.0.0.2:1", ModelAddress("ipv4:10.0.0.1:1,10.0.0.2:1", True)),
        ("[::1]:1,[::2]:1", ModelAddress("ipv6:[::1]:1,[::2]:1", True)),
    ],
)
def test_address_names_one_server_or_several(text: str, address: ModelAddress) -> None:
    assert parse_model_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["models", "http://models:8500", "a:1,b:1", "10.0.0.1:1,[::1]:1", "10.0.0.1:1,"],
)
def test_address_that_names_no_server_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"one name|is not host:port"):
        parse_model_address(text)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/cpuinfo")
def test_processor_has_a_name_and_flags() -> None:
    text = Path("/proc/cpuinfo").read_text()

    assert processor_name()
    assert processor_name() in text or "model name" not in text
    assert all(flag in text for flag in processor_flags())
    assert bool(processor_flags()) == ("flags" in text)
