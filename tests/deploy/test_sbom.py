"""The bill of materials of an image: complete, and valid CycloneDX."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.images.list_requirements import list_installed
from deploy.images.sbom import main

DPKG = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14
Description: GNU C Library
 Shared libraries

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

"""
DIGEST = "a" * 64
FLASK = "flask==3.1.3 --hash=sha256:" + DIGEST + "\n"
RELEASE = 'PRETTY_NAME="Debian 12"\nID=debian\nVERSION_ID="12"\n'
IMAGE = {
    "./var/lib/dpkg/status": DPKG,
    "usr/lib/os-release": RELEASE,
    "opt/venv/lib/python3.11/site-packages/flask-3.1.3.dist-info/METADATA": (
        "Metadata-Version: 2.1\nName: Flask\nVersion: 3.1.3\n\nVersion: of a text\n"
    ),
    "usr/local/lib/python3.11/site-packages/pip-24.0.dist-info/METADATA": (
        "Metadata-Version: 2.1\nName: pip\nVersion: 24.0\n"
    ),
    "opt/venv/installed.txt": FLASK,
    "opt/messages/installed.txt": "tensorflow==2.21.0 --hash=sha256:" + "b" * 64 + "\n",
    "app/service/main.py": "",
}
ENGINE = """\
#!/bin/sh
echo "$@" >> "$0.log"
case $1 in
  image) echo '["PATH=/bin","PYTHON_VERSION=3.11.16"]' ;;
  create) echo container ;;
  export) cat "$0.tar" ;;
esac
"""


class Engine:
    """A program in Docker's place that exports the files it was given."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "engine"
        self.path.write_text(ENGINE)
        self.path.chmod(0o755)
        self.folder = folder / "sbom"

    def holds(self, files: dict[str, bytes]) -> None:
        with tarfile.open(f"{self.path}.tar", "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    def asked(self) -> str:
        return Path(f"{self.path}.log").read_text()

    def sbom(self, *images: str) -> Result:
        options = ["--engine", str(self.path), "--folder", str(self.folder)]
        return CliRunner().invoke(main, [*options, *images])


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = Engine(tmp_path)
    made.holds({name: text.encode() for name, text in IMAGE.items()})
    return made


def components(path: Path) -> dict[str, dict[str, Any]]:
    found = json.loads(path.read_text())["components"]
    return {each["purl"]: each for each in found}


def test_all_that_lies_in_the_image_is_listed(engine: Engine) -> None:
    result = engine.sbom("kennel-api:1.2")
    path = engine.folder / "kennel-api-1.2.cdx.json"
    found = components(path)

    assert result.exit_code == 0, result.output
    assert "1 packages of debian-12, 3 of Python, 2 with their hash" in result.output
    assert set(found) == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12",
        "pkg:generic/python@3.11.16",
        "pkg:pypi/flask@3.1.3",
        "pkg:pypi/pip@24.0",
        "pkg:pypi/tensorflow@2.21.0",
    }
    hashes = found["pkg:pypi/flask@3.1.3"]["hashes"]
    assert hashes == [{"alg": "SHA-256", "content": DIGEST}]
    described = json.loads(path.read_text())["metadata"]["component"]
    assert (described["name"], described["version"]) == ("kennel-api", "1.2")


def test_the_container_that_was_made_for_it_is_removed(engine: Engine) -> None:
    engine.sbom("kennel-api:1.2")
    Path(f"{engine.path}.tar").write_bytes(b"no tar at all" * 100)
    broken = engine.sbom("kennel-api:1.3")

    assert broken.exit_code == 1
    assert "cannot be read" in broken.output
    assert engine.asked().count("create") == engine.asked().count("rm container") == 2


def test_an_image_without_lists_is_no_bill_of_nothing(engine: Engine) -> None:
    engine.holds({"bin/true": b""})
    result = engine.sbom("scratch:1")

    assert result.exit_code == 1
    assert "no list of packages" in result.output
    assert not [*engine.folder.iterdir()]


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    options = ["--engine", "/no/engine", "--folder", str(tmp_path)]
    result = CliRunner().invoke(main, [*options, "kennel-api:1"])

    assert result.exit_code == 1
    assert "/no/engine cannot be run" in result.output


@pytest.mark.skipif(not Path("/var/lib/dpkg/status").exists(), reason="needs Debian")
def test_this_machines_packages_make_a_valid_bill(engine: Engine) -> None:
    """As it is in an image: dpkg's real list, and Python's of this environment."""
    flask = Path(str(distribution("flask").locate_file("")))
    real = [Path("/var/lib/dpkg/status"), Path("/etc/os-release")]
    real += sorted(flask.glob("*.dist-info/METADATA"))
    engine.holds({str(path).removeprefix("/"): path.read_bytes() for path in real})
    result = engine.sbom("kennel-api:local")
    text = (engine.folder / "kennel-api-local.cdx.json").read_text()
    listed = subprocess.check_output(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package}\n"],
        text=True,
    ).splitlines()
    installed = {line.split()[-1] for line in listed if line.startswith(("ii", "hi"))}
    named = json.loads(text)["components"]

    assert result.exit_code == 0, result.output
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert {c["name"] for c in named if c["purl"].startswith("pkg:deb")} == installed
    assert {"flask", "redis"} <= {c["name"] for c in named}


def test_pips_own_report_says_which_files_were_installed(tmp_path: Path) -> None:
    wheel = tmp_path / "dep-1.0-py3-none-any.whl"
    _write_wheel(wheel)
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
        *(
            "--target",
            str(tmp_path / "site"),
            "--report",
            str(tmp_path / "report.json"),
        ),
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ})
    shutil.rmtree(tmp_path / "site")
    (line,) = list_installed(tmp_path / "report.json")

    digest = subprocess.check_output(["sha256sum", str(wheel)], text=True).split()[0]
    assert line == f"dep==1.0 --hash=sha256:{digest}"


def _write_wheel(path: Path) -> None:
    from zipfile import ZipFile

    with ZipFile(path, "w") as archive:
        info = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        archive.writestr("dep-1.0.dist-info/WHEEL", f"{info}Tag: py3-none-any\n")
        about = "Metadata-Version: 2.1\nName: dep\nVersion: 1.0\n"
        archive.writestr("dep-1.0.dist-info/METADATA", about)
        archive.writestr("dep-1.0.dist-info/RECORD", "")
