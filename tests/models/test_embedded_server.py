"""What the embedded model server adds to the protocol: versions, reloading, refusals."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from kennel.serving_config.files import serving_config, write_files
from kennel.serving_config.models import ModelWish, model_texts, write_model_files
from kennel.serving_config.wishes import Wishes
from models.contract import IMAGES_INPUT
from models.errors import InvalidRequestError
from models.networks.runtime import start_tensorflow
from models.wire import messages
from models.wire.batching_parameters import PER_MODEL_FILE
from models.wire.client import ModelServerClient
from models.wire.config import ModelEntry, render_entries
from models.wire.model_ref import ModelRef
from models.wire.tensors import to_tensor
from tests.models.conftest import RunningServer, start_embedded, wait_for_version
from tests.models.test_conformance import code_of, predict
from tests.processes import wait_until
from tests.tiny_model import publish_tiny_model

pytestmark = pytest.mark.tensorflow

PETS = ModelRef("pets")


def pixels(count: int = 1) -> Any:
    return np.full((count, 32, 32, 3), 90, np.uint8)


def only_embedded(server: RunningServer) -> None:
    if server.models_dir is None:
        pytest.skip("MODEL_SERVER names a server that is not ours to try this on")


@pytest.mark.parametrize(
    "batch", [pixels()[0], pixels()[None], pixels(33)], ids=["rank3", "rank5", "33"]
)
def test_batch_that_a_real_server_would_refuse_or_die_of(
    embedded_server: RunningServer, batch: Any
) -> None:
    only_embedded(embedded_server)
    request = messages.PredictRequest()
    request.model_spec.name = "pets"
    request.inputs[IMAGES_INPUT].CopyFrom(to_tensor(batch))

    with grpc.insecure_channel(embedded_server.target) as channel:
        code = code_of(lambda: predict(channel, request))

    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_other_calls_are_unimplemented(embedded_server: RunningServer) -> None:
    only_embedded(embedded_server)
    with grpc.insecure_channel(embedded_server.target) as channel:
        stub = messages.prediction_service.PredictionServiceStub(channel)
        from tensorflow_serving.apis.classification_pb2 import ClassificationRequest

        code = code_of(lambda: stub.Classify(ClassificationRequest(), timeout=10))

    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_versions_are_swapped_without_a_failed_request(tmp_path: Path) -> None:
    publish_tiny_model(tmp_path, 1)
    answered: list[int] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def keep_asking(target: str) -> None:
        with ModelServerClient(target) as client:
            while not stop.is_set():
                try:
                    answered.append(client.predict(pixels(), PETS).version)
                except Exception as error:
                    failures.append(error)

    with ExitStack() as stack:
        server = start_embedded(stack, tmp_path, "pets")
        wait_for_version(server.target, "pets", 1)
        asking = threading.Thread(target=keep_asking, args=(server.target,))
        asking.start()
        stack.callback(asking.join)
        stack.callback(stop.set)
        publish_tiny_model(tmp_path, 2)
        wait_until(lambda: answered and answered[-1] == 2, "an answer by version 2")
        publish_tiny_model(tmp_path, 3)
        wait_until(lambda: answered[-1] == 3, "an answer by version 3")
        client = stack.enter_context(ModelServerClient(server.target))

        def states() -> dict[int, str]:
            return {each.version: each.state for each in client.versions("pets")}

        wait_until(lambda: states()[1] == "END", "the end of version 1")
        pinned = client.predict(pixels(), ModelRef("pets", 2))

    assert not failures
    assert sorted(answered) == answered
    assert pinned.version == 2


def test_broken_version_leaves_the_old_one_serving(tmp_path: Path) -> None:
    publish_tiny_model(tmp_path, 1)
    with ExitStack() as stack:
        server = start_embedded(stack, tmp_path, "pets")
        wait_for_version(server.target, "pets", 1)
        (tmp_path / "pets" / "2").mkdir()
        (tmp_path / "pets" / "3").mkdir()
        (tmp_path / "pets" / "3" / "saved_model.pb").write_bytes(b"not a model")
        client = stack.enter_context(ModelServerClient(server.target))

        def failed() -> bool:
            return any(
                each.state == "END" and each.error for each in client.versions("pets")
            )

        wait_until(failed, "a failed load of version 3")
        answer = client.predict(pixels(), PETS)

    assert answer.version == 1


def test_server_starts_with_the_files_that_the_command_writes(tmp_path: Path) -> None:
    models_dir, files = tmp_path / "models", tmp_path / "files"
    publish_tiny_model(models_dir, 1)
    wishes = Wishes("cpu", max_batch=8)
    write_files(serving_config(wishes, per_model=True).texts(), files)
    own = model_texts(models_dir, wishes, [ModelWish("pets", max_batch=4)])
    write_model_files(models_dir, own)
    flags = [
        f"--batching_parameters_file={files / 'batching.config'}",
        "--enable_per_model_batching_parameters=true",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=20000",
        "--tensorflow_intra_op_parallelism=1",
        "--num_load_threads=1",
        "--strict",
    ]

    with ExitStack() as stack:
        server = start_embedded(stack, models_dir, "pets", *flags)
        wait_for_version(server.target, "pets", 1)
        client = stack.enter_context(ModelServerClient(server.target))
        lone = client.predict(pixels(1), PETS)
        split = client.predict(pixels(17), PETS)

    assert split.probabilities.shape == (17, 2)
    assert (split.probabilities == lone.probabilities).all()


def test_channel_arguments_are_read_as_tensorflow_serving_reads_them() -> None:
    start_tensorflow()
    from models.server.main import ServerOptions

    text = "grpc.max_connection_age_ms=20000,grpc.primary_user_agent=a=b"
    given = ServerOptions(grpc_channel_arguments=text)

    assert ServerOptions().channel_arguments == []
    assert given.channel_arguments == [
        ("grpc.max_connection_age_ms", 20000),
        ("grpc.primary_user_agent", "a=b"),
    ]
    with pytest.raises(InvalidRequestError, match="name=value"):
        _ = ServerOptions(grpc_channel_arguments="grpc.so_reuseport").channel_arguments


def test_server_does_not_start_with_batching_that_tensorflow_serving_refuses(
    tmp_path: Path,
) -> None:
    start_tensorflow()
    from models.server.main import ServerOptions, make_versions

    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 32 } allowed_batch_sizes: 8")
    for batches, complaint in ((True, "append 32"), (False, "--enable_batching=true")):
        options = ServerOptions(
            model_base_path=tmp_path,
            enable_batching=batches,
            batching_parameters_file=file,
        )

        with pytest.raises(InvalidRequestError, match=complaint):
            make_versions(options, threading.Event())


def test_server_does_not_start_with_labels_that_tensorflow_serving_refuses(
    tmp_path: Path,
) -> None:
    start_tensorflow()
    from models.server.main import ServerOptions, make_versions

    file = tmp_path / "models.config"
    entry = ModelEntry("pets", tmp_path / "pets", labels=(("stable", 1),))
    file.write_text(render_entries([entry]))
    options = ServerOptions(model_config_file=file)
    allowing = replace(options, allow_version_labels_for_unavailable_models=True)

    with pytest.raises(InvalidRequestError, match="labels_for_unavailable_models=true"):
        make_versions(options, threading.Event())
    assert make_versions(allowing, threading.Event())


def test_version_with_a_broken_file_of_its_own_is_not_loaded(tmp_path: Path) -> None:
    publish_tiny_model(tmp_path, 1)
    publish_tiny_model(tmp_path, 2)
    (tmp_path / "pets" / "2" / PER_MODEL_FILE).write_text("max_batch_size: 32")

    with ExitStack() as stack:
        flag = "--enable_per_model_batching_parameters=true"
        server = start_embedded(stack, tmp_path, "pets", flag)
        wait_for_version(server.target, "pets", 1)
        client = stack.enter_context(ModelServerClient(server.target))

        def error() -> str:
            found = client.versions("pets")
            return next(each.error for each in found if each.version == 2)

        wait_until(error, "a failed load of version 2")
        reason = error()

    assert "max_batch_size" in reason
