"""`kennel up` (the local stack) and `kennel model-server`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Final

import click

from kennel.settings import KennelSettings

_PORT: Final = click.IntRange(0, 65_535)


@click.command(
    epilog="Examples: kennel up; KENNEL_HOME=/srv/kennel kennel up --port 8080"
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The API's address; ALLOWED_HOSTS lists the names by which others reach it.",
)
@click.option(
    "--port", type=_PORT, default=8000, show_default=True, help="API port; 0: any free."
)
@click.option(
    "--model-server-port",
    type=_PORT,
    default=8500,
    show_default=True,
    help="gRPC port.",
)
@click.option(
    "--redis-port", type=_PORT, default=6379, show_default=True, help="Redis's port."
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Job workers.",
)
def up(
    host: str, port: int, model_server_port: int, redis_port: int, workers: int
) -> None:
    """Run Redis, the model server, the API and the workers until Ctrl-C."""
    from kennel.stack.local_stack import StackOptions, run_stack

    run_stack(
        KennelSettings.from_env(os.environ),
        StackOptions(host, port, model_server_port, redis_port, workers),
    )


def _path(**settings: Any) -> click.Path:
    return click.Path(path_type=Path, **settings)


def _boolean(_: click.Context, __: click.Parameter, text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise click.BadParameter(f"{text!r} is neither true nor false")
    return text.lower() == "true"


@click.command(
    "model-server",
    epilog="Examples: kennel model-server --model_name=pets "
    "--model_base_path=var/models/pets; kennel model-server "
    "--model_config_file=models.config --enable_batching",
)
@click.option("--port", type=_PORT, default=8500, show_default=True, help="gRPC port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address.")
@click.option("--model_name", default="default", show_default=True, help="Model name.")
@click.option("--model_base_path", type=_path(), help="Folder of version folders.")
@click.option("--model_config_file", type=_path(), help="A ModelServerConfig file.")
@click.option(
    "--model_config_file_poll_wait_seconds",
    default=0.0,
    show_default=True,
    help="Read the configuration again this often; 0: never.",
)
@click.option(
    "--file_system_poll_wait_seconds",
    default=1.0,
    show_default=True,
    help="Look for new versions this often.",
)
@click.option(
    "--enable_batching",
    is_flag=False,
    flag_value="true",
    default="false",
    callback=_boolean,
    help="Gather requests into batches.",
)
@click.option(
    "--batching_parameters_file", type=_path(), help="How batches are gathered."
)
@click.option(
    "--enable_per_model_batching_parameters",
    is_flag=False,
    flag_value="true",
    default="false",
    callback=_boolean,
    help="Read each version's own batching_params.pbtxt.",
)
@click.option(
    "--grpc_max_threads", default=128, show_default=True, help="Concurrent calls."
)
@click.option(
    "--grpc_channel_arguments",
    default="",
    help="name=value,... for gRPC: grpc.max_connection_age_ms=20000 makes clients of "
    "several servers look for new ones.",
)
@click.option(
    "--enable_grpc_healthcheck_service",
    default="false",
    help="Accepted and ignored: GetModelStatus says more.",
)
@click.option(
    "--allow_version_labels_for_unavailable_models",
    is_flag=False,
    flag_value="true",
    default="false",
    callback=_boolean,
    help="Start with labels in the configuration: each waits until its version is "
    "loaded.",
)
@click.option(
    "--tensorflow_intra_op_parallelism", default=0, help="Threads of one operation."
)
@click.option(
    "--tensorflow_inter_op_parallelism", default=0, help="Concurrent operations."
)
@click.option(
    "--num_load_threads",
    default=1,
    help="Accepted and ignored: one thread loads, others answer meanwhile.",
)
@click.option(
    "--max_num_load_retries",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="How often a version that cannot be loaded is tried again.",
)
@click.option(
    "--load_retry_interval_micros",
    default=60_000_000,
    show_default=True,
    help="Microseconds between these tries.",
)
@click.option("--rest_api_port", default=0, help="Accepted and ignored: gRPC only.")
@click.option("--monitoring_config_file", type=_path(), help="Accepted and ignored.")
@click.option(
    "--strict",
    is_flag=True,
    help="For tests: fail where TensorFlow Serving fails. Images of different sizes in "
    "one batch fail all of its requests; a request of no image has no answer; the port "
    "opens when all models are loaded, and a version that cannot be loaded keeps the "
    "others waiting until its retries are over; --model_base_path loads one version.",
)
def model_server(
    enable_grpc_healthcheck_service: str,
    num_load_threads: int,
    rest_api_port: int,
    monitoring_config_file: Path | None,
    tensorflow_intra_op_parallelism: int,
    tensorflow_inter_op_parallelism: int,
    **flags: Any,
) -> None:
    """Run the embedded model server alone, with TensorFlow Serving's flags."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if rest_api_port or monitoring_config_file:
        click.echo("gRPC only: no REST port, no monitoring here", err=True)
    _limit_threads("INTRAOP", tensorflow_intra_op_parallelism)
    _limit_threads("INTEROP", tensorflow_inter_op_parallelism)
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from models.server.main import ServerOptions, serve

    serve(ServerOptions(**flags))


def _limit_threads(kind: str, threads: int) -> None:
    # TensorFlow reads these once, when it starts.
    if threads:
        os.environ[f"TF_NUM_{kind}_THREADS"] = str(threads)
