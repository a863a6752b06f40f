"""The embedded server follows version policies and labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from models.networks.runtime import start_tensorflow
from models.wire.config import ModelEntry
from tests.tiny_model import publish_tiny_model

if TYPE_CHECKING:
    from models.server.versions import VersionManager


pytestmark = pytest.mark.tensorflow


class Served:
    """A manager of the versions 1, 2 and 3 of one model, whose entry can change."""

    def __init__(self, models_dir: Path) -> None:
        start_tensorflow()
        from models.server.servable import Batching
        from models.server.versions import VersionManager

        self.entry = ModelEntry("pets", models_dir / "pets", 2)
        self.manager: VersionManager = VersionManager(lambda: [self.entry], Batching())

    def follow(self, *specific: int, **labels: int) -> None:
        pairs = tuple(labels.items())
        self.entry = replace(self.entry, specific_versions=specific, labels=pairs)
        self.manager.poll()

    def answering(self, label: str | None = None) -> int:
        return self.manager.find("pets", None, label).version

    def available(self) -> set[int]:
        states = self.manager.states("pets", None)
        return {number for number, each in states.items() if each.state == "AVAILABLE"}


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for version in (1, 2, 3):
        publish_tiny_model(folder, version)
    return folder


@pytest.fixture
def served(models_dir: Path) -> Served:
    served = Served(models_dir)
    served.follow()
    return served


def test_rolled_back_version_answers_and_newer_ones_go(served: Served) -> None:
    assert served.answering() == 3

    served.follow(1)

    assert served.answering() == 1
    assert served.available() == {1}
    served.follow()
    assert served.answering() == 3


def test_named_version_that_is_not_there_does_not_matter(served: Served) -> None:
    served.follow(9, 2)

    assert served.answering() == 2
    assert served.available() == {2}


def test_labels_name_versions(served: Served) -> None:
    served.follow(stable=2, canary=3)

    assert served.answering("stable") == 2
    assert served.answering("canary") == 3


def test_unknown_label_is_an_invalid_argument(served: Served) -> None:
    from models.server.servable import ServingError

    served.follow(stable=2)

    with pytest.raises(ServingError, match="version label: nightly") as caught:
        served.answering("nightly")
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    served.follow()
    with pytest.raises(ServingError, match="version label: stable"):
        served.answering("stable")


def test_label_moves_when_its_new_version_is_loaded(served: Served) -> None:
    served.follow(stable=2)
    served.follow(stable=1)
    assert served.answering("stable") == 2

    served.follow(1, stable=1)

    assert served.answering("stable") == 1


def test_broken_version_keeps_nobody_waiting_and_is_tried_as_often_as_told(
    models_dir: Path, tmp_path: Path
) -> None:
    start_tensorflow()
    from models.server.servable import Batching
    from models.server.versions import LoadRetries, VersionManager

    base = tmp_path / "pets"
    (base / "2").mkdir(parents=True)
    (base / "2" / "saved_model.pb").write_bytes(b"not a model")
    (base / "1").symlink_to(models_dir / "pets" / "1")
    entry = ModelEntry("pets", base, 2)
    manager = VersionManager(lambda: [entry], Batching(), LoadRetries(2, 0.0))

    tries = []
    for _ in range(5):
        manager.poll()
        state = manager.states("pets", 2)[2]
        tries.append(state.attempts)
        assert (state.state, state.error != "") == ("END", True)

    assert tries == [1, 2, 3, 3, 3]
    assert manager.find("pets", None, None).version == 1
