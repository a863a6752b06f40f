"""`kennel networks`: the list, and one network layer by layer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from kennel.commands.networks import networks
from models.errors import InvalidRequestError

pytestmark = pytest.mark.tensorflow


def run(*arguments: str) -> Any:
    return CliRunner().invoke(networks, arguments, catch_exceptions=False)


def test_list_shows_name_input_and_parameters() -> None:
    lines = run().output.splitlines()

    assert any(
        line.split()[:5] == ["lenet5", "28", "x", "28", "61,706"] for line in lines
    )
    assert any(line.startswith("resnet50 ") for line in lines)


def test_list_is_json_for_scripts() -> None:
    rows = {row["name"]: row for row in json.loads(run("--json").output)}

    assert rows["vgg16"]["parameters"] == 138_357_544
    assert rows["vgg16"]["image_size"] == [224, 224]
    assert rows["inceptionv3"]["smallest_image"] == 75
    assert rows["resnet50"]["parameters"] is None


def test_one_network_shows_its_layers() -> None:
    output = run("mobilenetv2", "--classes", "2").output

    assert "224 x 224 RGB pixels, 2 classes" in output
    assert "logits" in output
    assert output.splitlines()[-1] == "2,260,546 parameters"


def test_layers_are_json_for_scripts() -> None:
    found = json.loads(run("lenet5", "--json").output)

    assert found["parameters"] == 61_706
    assert [layer["name"] for layer in found["layers"]][-1] == "logits"


def test_unknown_network_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no network 'resnet5000'"):
        run("resnet5000")
