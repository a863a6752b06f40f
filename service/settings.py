"""Settings of the API: addresses, folders, timeouts and limits.

What belongs to a model (labels, size, clip bound) is in its card, never here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from models.environment import (
    bare_host,
    host_and_port,
    read_address,
    read_choice,
    read_input_root,
    read_integer,
    read_max_pixels,
    read_path,
    read_redis_url,
    read_seconds,
)
from models.images.files import MAX_PIXELS
from models.wire.config import read_model_names
from service.auth.guard import AuthSettings
from service.http.budget import MAX_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS
from worker.queue import MAX_UNPACKED_BYTES, JobLimits

MAX_DRAIN_SECONDS: Final = 300.0

CPU: Final = "cpu"
GPU: Final = "gpu"

_MEBIBYTE: Final = 1024**2
_GIBIBYTE: Final = 1024**3
_TEBIBYTE: Final = 1024**4


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of one API process; the defaults run on a laptop.

    Attributes:
        model_server_device: what it computes on: "cpu" or "gpu", which cannot serve every
            version.
        model_names: models that are served; those in *model_config_file* come after.
        model_config_file: the model server's own configuration, read for its names;
            their order counts.
        models_dir: the folder of published versions, which may be missing: only rollouts
            and training reports are read from it.
        default_model: for requests that name none; None: the first known name.
        input_url: object storage that replaces *input_root*.
        max_in_flight: images that one process works on at the same time.
        max_upload_bytes: size of an uploaded archive with the photos of a job.
        max_unpacked_bytes: size of the photos in an archive together.
        min_free_mib: jobs are refused while the disk of the runs has less; 0: never.
        drain_seconds: how long /readyz fails before a stop, so that load balancers
            notice; 0: stop at once.
    """

    model_server: str = "127.0.0.1:8500"
    model_server_device: str = CPU
    model_names: tuple[str, ...] = ()
    model_config_file: Path | None = None
    default_model: str | None = None
    redis_url: str = "redis://127.0.0.1:6379/0"
    models_dir: Path = Path("var/models")
    runs_dir: Path = Path("var/runs")
    input_root: Path = Path("var/data")
    input_url: str | None = None
    request_timeout_seconds: float = 10.0
    max_request_bytes: int = 64 * 1024 * 1024
    max_images: int = 64
    max_pixels: int = MAX_PIXELS
    max_in_flight: int = 256
    max_upload_bytes: int = 4 * _GIBIBYTE
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES
    min_free_mib: int = 512
    host: str = "127.0.0.1"
    port: int = 8000
    web_workers: int = 2
    web_threads: int = 40
    drain_seconds: float = 0.0
    auth: AuthSettings = field(default_factory=AuthSettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings from environment variables; an empty variable counts as unset.

        Raises:
            InvalidRequestError: a value cannot be used; the message names the variable.
        """
        home = Path(env.get("KENNEL_HOME") or "var").absolute()
        config_file = env.get("MODEL_CONFIG_FILE")
        input_root, input_url = read_input_root(env, home / "data")
        max_images = read_integer(env, "MAX_IMAGES", cls.max_images, (1, 1024))
        return cls(
            model_server=read_address(env, "MODEL_SERVER", cls.model_server),
            model_server_device=_read_device(env),
            model_names=read_model_names(env, "MODEL_NAMES"),
            model_config_file=Path(config_file) if config_file else None,
            default_model=next(iter(read_model_names(env, "DEFAULT_MODEL")), None),
            redis_url=read_redis_url(env, "REDIS_URL", cls.redis_url),
            models_dir=read_path(env, "MODELS_DIR", home / "models"),
            runs_dir=read_path(env, "RUNS_DIR", home / "runs"),
            input_root=input_root,
            input_url=input_url,
            request_timeout_seconds=read_seconds(
                env,
                "REQUEST_TIMEOUT_SECONDS",
                cls.request_timeout_seconds,
                (MIN_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS),
            ),
            max_request_bytes=read_integer(
                env, "MAX_REQUEST_BYTES", cls.max_request_bytes, (1024, _GIBIBYTE)
            ),
            max_images=max_images,
            max_pixels=read_max_pixels(env),
            max_in_flight=read_integer(
                env,
                "MAX_IN_FLIGHT",
                max(cls.max_in_flight, max_images),
                (max_images, 1_000_000),
            ),
            max_upload_bytes=read_integer(
                env, "MAX_UPLOAD_BYTES", cls.max_upload_bytes, (1024, _TEBIBYTE)
            ),
            max_unpacked_bytes=read_integer(
                env, "MAX_UNPACKED_BYTES", cls.max_unpacked_bytes, (1024, _TEBIBYTE)
            ),
            min_free_mib=read_integer(
                env, "MIN_FREE_MIB", cls.min_free_mib, (0, _MEBIBYTE)
            ),
            host=bare_host(env.get("HOST") or cls.host),
            port=read_integer(env, "PORT", cls.port, (1, 65_535)),
            web_workers=read_integer(env, "WEB_WORKERS", cls.web_workers, (1, 256)),
            web_threads=read_integer(env, "WEB_THREADS", cls.web_threads, (1, 1024)),
            drain_seconds=read_seconds(
                env, "DRAIN_SECONDS", cls.drain_seconds, (0.0, MAX_DRAIN_SECONDS)
            ),
            auth=AuthSettings.from_env(env),
        )

    @property
    def inputs(self) -> Path | str:
        """Where the folders of photos are: a folder, or a URL of object storage."""
        return self.input_url or self.input_root

    @property
    def job_limits(self) -> JobLimits:
        """The limits of a folder job."""
        return JobLimits(self.max_unpacked_bytes, self.min_free_mib * _MEBIBYTE)

    @property
    def bind(self) -> str:
        """The address at which gunicorn listens."""
        return host_and_port(self.host, self.port)


def _read_device(env: Mapping[str, str]) -> str:
    # Compose starts the model server on GPUs by a profile, and passes the profiles on.
    profiles = (env.get("COMPOSE_PROFILES") or "").split(",")
    default = GPU if GPU in profiles else CPU
    return read_choice(env, "MODEL_SERVER_DEVICE", default, (CPU, GPU))
