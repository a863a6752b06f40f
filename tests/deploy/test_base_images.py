"""Public images: pinned by the same digest everywhere, updated by one command."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.images.base_images import (
    INSPECT,
    ROOT,
    VARIABLES,
    base_images,
    files,
    find_images,
    main,
    stand_ins,
    tag_variables,
    update,
)
from tests.deploy.compose_files import FILES, defaults, services

NOT_PINNED_YET = {
    "nginx:1.28-bookworm",
    "tensorflow/serving:2.20.0",
    "tensorflow/serving:2.20.0-gpu",
}
"""Nobody who could reach a registry has run `make digests` on them."""

DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for path in files():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


def test_every_public_image_is_pinned_by_digest() -> None:
    unpinned = {image.tagged for image in base_images() if not image.digest}

    assert unpinned <= NOT_PINNED_YET


def test_a_tag_means_one_digest_everywhere() -> None:
    digests = defaultdict(set)
    for image in base_images():
        digests[image.tagged].add(image.digest)

    assert {tag for tag, found in digests.items() if len(found) > 1} == set()


def test_no_image_escapes_the_pins() -> None:
    """Whatever is pulled is one of the images that the command knows, or ours."""
    used = [text for path in files() for text in _images_of(path)]
    foreign = {text for text in used if not [*find_images(f"{text} ")]}

    assert {text for text in foreign if not text.startswith("kennel-")} == set()
    assert len(used) > 15


def test_compose_builds_each_image_from_the_base_of_its_dockerfile() -> None:
    for file in FILES:
        for service in services(file).values():
            if "dockerfile" in service.get("build", {}):
                text = (ROOT / service["build"]["dockerfile"]).read_text()
                found = re.search("^ARG BASE_IMAGE=(.+)$", text, re.MULTILINE)
                assert found
                assert defaults(service["build"]["args"]["BASE_IMAGE"]) == found[1]


def test_digests_are_renewed_in_all_places_at_once(checkout: Path) -> None:
    lines = update(checkout, f"echo {DIGEST}")
    tagged = {image.tagged for image in base_images()}

    assert set(lines) == {f"{each}@{DIGEST}" for each in tagged}
    assert {str(image) for image in base_images(checkout)} == set(lines)
    compose = yaml.safe_load((checkout / "docker-compose.yml").read_text())
    assert compose["services"]["model-server"]["image"].endswith(f"@{DIGEST}}}")


@pytest.mark.parametrize(
    ("inspect", "told"),
    [
        ("false", "no digest of grafana"),
        ("echo unauthorized", "unauthorized"),
        ("no-such-program", "INSPECT"),
    ],
)
def test_without_an_answer_nothing_is_written(
    checkout: Path, inspect: str, told: str
) -> None:
    before = [path.read_text() for path in files(checkout)]

    with pytest.raises(SystemExit, match=told):
        update(checkout, inspect)

    assert [path.read_text() for path in files(checkout)] == before


def test_docker_is_asked_for_the_digest_of_the_index(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in its place prints what buildx does: JSON, with quotes."""
    docker = checkout / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(
        "#!/bin/sh\n"
        'test "$4 $5" = "--format {{json .Manifest.Digest}}" && test $# = 6 || exit 1\n'
        f"echo '\"{DIGEST}\"'\n"
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")

    assert update(checkout, INSPECT)


def test_tags_alone_are_offered_to_compose(capsys: pytest.CaptureFixture[str]) -> None:
    main("--tags")
    lines = capsys.readouterr().out.splitlines()

    assert "PYTHON_IMAGE=python:3.11-slim-bookworm" in lines
    assert lines == tag_variables()
    assert {line.partition("=")[0] for line in lines} == set(VARIABLES.values()) - {""}
    assert "sha256" not in "".join(lines)


def _images_of(path: Path) -> list[str]:
    text = path.read_text()
    if "Dockerfile" in path.name:
        return re.findall(r"^ARG BASE_IMAGE=(.+)$", text, re.MULTILINE)
    if path.suffix not in {".yml", ".yaml"}:
        return []
    return [defaults(each) for each in _values("image", [*yaml.load_all(text, Loose)])]


def _values(key: str, node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node[key]] if isinstance(node.get(key), str) else []
        return own + [each for value in node.values() for each in _values(key, value)]
    if isinstance(node, list):
        return [each for value in node for each in _values(key, value)]
    return []


class Loose(yaml.SafeLoader):
    """Compose has tags of its own (``!reset``)."""


Loose.add_multi_constructor("!", lambda *_: None)


def test_images_that_were_built_here_stand_in_for_pinned_ones(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    # Has python by its tag, redis as it is pinned, and nothing else.
    engine.write_text(
        '#!/bin/sh\ncase "$3" in python:*@*) exit 1;; python:*|redis:*) exit 0;; esac\n'
        "exit 1\n"
    )
    engine.chmod(0o755)

    assert stand_ins(str(engine)) == ["PYTHON_IMAGE=python:3.11-slim-bookworm"]
