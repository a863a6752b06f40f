"""Settings from environment variables: numbers, flags, paths, other servers; processors.

An empty variable counts as unset. A value that cannot be used stops the start, with the
variable's name.
"""

from __future__ import annotations

import ipaddress
import math
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from models.errors import InvalidRequestError
from models.images.files import MAX_PIXELS, MAX_SIDE

_STORAGE_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@?#]+(/[^\s@?#]*)?")


def read_integer(
    env: Mapping[str, str], name: str, default: int, limits: tuple[int, int]
) -> int:
    """The whole number in the variable *name*, within *limits*, both included.

    Raises:
        InvalidRequestError: the variable holds anything else.
    """
    text = env.get(name) or str(default)
    lowest, highest = limits
    digits = text.isascii() and text.isdigit() and len(text) < 16
    if not digits or not lowest <= int(text) <= highest:
        message = f"{name}={text!r} is not a whole number from {lowest} to {highest}"
        raise InvalidRequestError(message)
    return int(text)


def read_seconds(
    env: Mapping[str, str], name: str, default: float, limits: tuple[float, float]
) -> float:
    """The seconds in the variable *name*, within *limits*, both included.

    Raises:
        InvalidRequestError: the variable holds anything else.
    """
    return _read_number(env, name, default, limits, "seconds")


def read_days(
    env: Mapping[str, str], name: str, default: float, limits: tuple[float, float]
) -> float:
    """The days in the variable *name*, within *limits*, both included.

    Raises:
        InvalidRequestError: the variable holds anything else.
    """
    return _read_number(env, name, default, limits, "days")


def read_flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    """The flag in the variable *name*: ``true`` or ``false``.

    Raises:
        InvalidRequestError: the variable holds anything else.
    """
    text = env.get(name) or str(default).lower()
    if text not in {"true", "false"}:
        raise InvalidRequestError(f"{name}={text!r} is not true or false")
    return text == "true"


def read_max_pixels(env: Mapping[str, str]) -> int:
    """The most pixels that an image may have, from MAX_PIXELS.

    Raises:
        InvalidRequestError: MAX_PIXELS is no whole number, or above what `MAX_SIDE`
            allows.
    """
    return read_integer(env, "MAX_PIXELS", MAX_PIXELS, (1, MAX_SIDE**2))


def read_choice(
    env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]
) -> str:
    """The one of *choices* in the variable *name*.

    Raises:
        InvalidRequestError: the variable holds anything else.
    """
    text = env.get(name) or default
    if text not in choices:
        raise InvalidRequestError(f"{name}={text!r} is not one of {', '.join(choices)}")
    return text


def read_path(env: Mapping[str, str], name: str, default: Path) -> Path:
    """The path in the variable *name*, made absolute."""
    return Path(env.get(name) or default).absolute()


def read_location(env: Mapping[str, str], name: str) -> Path | str | None:
    """A folder of this machine, or one in object storage as a URL; None if unset.

    Raises:
        InvalidRequestError: a URL that names no folder, or holds a password; the
            message leaves the value out.
    """
    text = env.get(name)
    if not text:
        return None
    text = text.removeprefix("file://")
    if "://" not in text:
        return Path(text).absolute()
    if not _STORAGE_URL.fullmatch(text):
        message = (
            f"{name} is no URL of a folder: use for example s3://bucket/photos, and "
            "give credentials in the driver's own variables"
        )
        raise InvalidRequestError(message)
    return text


def read_input_root(env: Mapping[str, str], default: Path) -> tuple[Path, str | None]:
    """INPUT_ROOT as a folder, and as a URL where it is one (then the folder is *default*).

    Raises:
        InvalidRequestError: as `read_location`.
    """
    location = read_location(env, "INPUT_ROOT")
    if isinstance(location, str):
        return default, location
    return location or default, None


def read_address(env: Mapping[str, str], name: str, default: str) -> str:
    """The address of the model servers, in a form that `parse_model_address` reads.

    Raises:
        InvalidRequestError: the variable holds anything else.
    """
    text = env.get(name) or default
    try:
        parse_model_address(text)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name}={error}") from error
    return text


def _read_number(
    env: Mapping[str, str],
    name: str,
    default: float,
    limits: tuple[float, float],
    unit: str,
) -> float:
    text = env.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    lowest, highest = limits
    if not lowest <= number <= highest:
        message = (
            f"{name}={text!r} is not a number of {unit} from {lowest:g} to {highest:g}"
        )
        raise InvalidRequestError(message)
    return number


_ADDRESS: Final = re.compile(
    r"(?P<resolver>dns://[^\s/,]*/)?"
    r"(?P<host>\[[^\s\[\]/]+\]|[^\s/,:\[\]]+):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True)
class ModelAddress:
    """The address of one model server or several, for gRPC.

    Attributes:
        target: in gRPC's syntax (grpc's doc/naming.md).
        may_be_several: a name or a list, not one IP address.
    """

    target: str
    may_be_several: bool


def parse_model_address(text: str) -> ModelAddress:
    """The model servers that *text* names.

    ``host:port`` and ``dns:///host:port`` stand for every address that the name has;
    ``IP:port,IP:port`` lists them. gRPC resolves one name a channel, so a list has none.

    Raises:
        InvalidRequestError: *text* has another form; the message lists the possible ones.
    """
    found = [_ADDRESS.fullmatch(each) for each in text.split(",")]
    matches = [match for match in found if match is not None]
    if len(matches) < len(found):
        message = (
            f"{text!r} is not host:port, dns:///host:port or IP:port,IP:port (an IPv6 "
            "address in brackets: [::1]:8500)"
        )
        raise InvalidRequestError(message)
    versions = {_ip_version(match) for match in matches}
    if len(matches) == 1:
        return ModelAddress(text, may_be_several=None in versions)
    if versions not in ({4}, {6}):
        message = (
            f"{text!r} lists names, or IPv4 beside IPv6: list addresses of one kind, "
            "or give the servers one name"
        )
        raise InvalidRequestError(message)
    return ModelAddress(f"ipv{versions.pop()}:{text}", may_be_several=True)


def host_and_port(host: str, port: int) -> str:
    """*host*, a name or an IP address, and *port* as URLs and gRPC write them."""
    bare = bare_host(host)
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def bare_host(host: str) -> str:
    """*host* without the brackets that an IPv6 address has in a URL."""
    return host.strip("[]")


def _ip_version(match: re.Match[str]) -> int | None:
    if match["resolver"]:
        return None
    try:
        return ipaddress.ip_address(bare_host(match["host"])).version
    except ValueError:
        return None


PASSWORD_FILE_VARIABLE: Final = "REDIS_PASSWORD_FILE"


def read_redis_url(env: Mapping[str, str], name: str, default: str) -> str:
    """The URL of Redis in *name*, with the password in REDIS_PASSWORD_FILE.

    Containers get secrets as files: variables show in what engines print about containers.
    A password in the URL itself counts first.

    Raises:
        InvalidRequestError: *name* holds no Redis URL (the message leaves its value out,
            which may hold a password), or the file cannot be read or is empty.
    """
    url = env.get(name) or default
    if not _is_redis_url(url):
        raise InvalidRequestError(
            f"{name} is no Redis URL: use for example {default}, and an IPv6 address in "
            "brackets, redis://[::1]:6379/0"
        )
    file = env.get(PASSWORD_FILE_VARIABLE)
    if not file or urlsplit(url).password is not None:
        return url
    return _with_password(url, _read_password(Path(file)))


def _is_redis_url(url: str) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return port != 0 and url.startswith(("redis://", "rediss://", "unix://"))


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    credentials = f"{user.removesuffix(':')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{credentials}@{place}").geturl()


def _read_password(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        message = f"{PASSWORD_FILE_VARIABLE}={str(file)!r} cannot be read: {reason}"
        raise InvalidRequestError(message) from error
    if not password:
        raise InvalidRequestError(f"{PASSWORD_FILE_VARIABLE}={str(file)!r} is empty")
    return password


def usable_processors() -> int:
    """The number of processors that this process may use; if unknown, the machine's."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The name of this machine's processor, such as "AMD EPYC 9B14"."""
    found = _first_processor().get("model name")
    return found or platform.processor() or platform.machine()


def processor_flags() -> frozenset[str]:
    """The processor's instruction sets, in Linux's names; none on other systems."""
    return frozenset(_first_processor().get("flags", "").split())


def _first_processor() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return {}
    lines = [line.partition(":") for line in text.partition("\n\n")[0].splitlines()]
    return {name.strip(): value.strip() for name, _, value in lines}
