"""Writes a bill of materials (CycloneDX 1.6, JSON) of each container image.

    python -m deploy.images.sbom kennel-api:1.2 kennel-worker:1.2 --folder sbom

It lists what the image's own files record: Debian's packages from dpkg's list, Python's
packages with the SHA-256 of their wheel, and programs that the base image names in its
variables (PYTHON_VERSION). The image is exported, never run.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from typing import IO, Final, cast

import click
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

DPKG: Final = "var/lib/dpkg/status"
RELEASE: Final = frozenset({"etc/os-release", "usr/lib/os-release"})
"""Debian links the first to the second."""

INSTALLED: Final = re.compile(r"opt/[\w-]+/installed\.txt")
"""By list_requirements.py and extract_messages.py: a pin and its hash a line."""

METADATA: Final = re.compile(r".*/[^/]+\.dist-info/METADATA")
_PIN: Final = re.compile(r"(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})")
_VERSION: Final = re.compile(r"([A-Z]+)_VERSION=v?([\w.+-]+)")


@dataclass
class Contents:
    """The packages and programs in an image.

    Attributes:
        debian: name, version and architecture of each package.
        python: name and version of each package.
        hashes: SHA-256 of the wheel, by name and version.
        programs: version by name, of programs without a package.
        distribution: as in ``debian-12``.
    """

    debian: list[tuple[str, str, str]] = field(default_factory=list)
    python: set[tuple[str, str]] = field(default_factory=set)
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    distribution: str = ""


def read_contents(files: IO[bytes], variables: Iterable[str] = ()) -> Contents:
    """The contents of an image with the file system *files* (tar) and its *variables*.

    Raises:
        ClickException: *files* is no tar file, or has no list of packages.
    """
    found = Contents()
    try:
        with tarfile.open(fileobj=files, mode="r|*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isfile() and _is_list(name):
                    stream = archive.extractfile(member)
                    text = stream.read().decode(errors="replace") if stream else ""
                    _take(found, name, text)
    except tarfile.TarError as error:
        raise click.ClickException(f"the image cannot be read: {error}") from error
    versions = (_VERSION.fullmatch(each) for each in variables)
    found.programs = {each[1].lower(): each[2] for each in versions if each}
    if not found.debian and not found.python:
        raise click.ClickException(
            "the image has no list of packages: not one of ours?"
        )
    return found


def describe(image: str, contents: Contents) -> str:
    """The bill of materials of *image*, which has *contents*: CycloneDX as JSON."""
    name, _, tag = image.rpartition(":") if ":" in image else (image, "", "")
    bom = Bom()
    bom.metadata.component = Component(
        name=name, version=tag or None, type=ComponentType.CONTAINER, bom_ref=image
    )
    for component in _components(contents):
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _is_list(name: str) -> bool:
    return bool(
        name in {DPKG, *RELEASE}
        or INSTALLED.fullmatch(name)
        or METADATA.fullmatch(name)
    )


def _take(found: Contents, name: str, text: str) -> None:
    if name == DPKG:
        found.debian = [*_debian_packages(text)]
    elif name in RELEASE:
        values = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
        found.distribution = f"{values.get('ID')}-{values.get('VERSION_ID')}"
    elif INSTALLED.fullmatch(name):
        for package, version, digest in _PIN.findall(text):
            found.hashes[_normal(package), version] = digest
        # The lean images have TensorFlow's message modules only, without metadata.
        found.python |= found.hashes.keys()
    else:
        about = HeaderParser().parsestr(text, headersonly=True)
        if about["Name"] and about["Version"]:
            found.python.add((_normal(about["Name"]), about["Version"]))


def _debian_packages(text: str) -> Iterator[tuple[str, str, str]]:
    for block in text.split("\n\n"):
        about = HeaderParser().parsestr(block, headersonly=True)
        if str(about.get("Status")).endswith(" installed"):
            yield about["Package"], about["Version"], about["Architecture"]


def _components(contents: Contents) -> Iterator[Component]:
    origin = contents.distribution
    for name, version, architecture in contents.debian:
        qualifiers = {"arch": architecture, "distro": origin}
        vendor = origin.partition("-")[0] or "debian"
        yield _component(PackageURL("deb", vendor, name, version, qualifiers))
    for name, version in sorted(contents.python):
        digest = contents.hashes.get((name, version))
        yield _component(PackageURL("pypi", None, name, version), digest)
    for name, version in contents.programs.items():
        yield _component(PackageURL("generic", None, name, version))


def _component(purl: PackageURL, digest: str | None = None) -> Component:
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []
    return Component(
        name=purl.name,
        version=purl.version,
        purl=purl,
        hashes=hashes,
        bom_ref=purl.to_string(),
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _run_engine(engine: str, *arguments: str) -> str:
    command = [engine, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        message = f"{engine} cannot be run ({error.strerror}): --engine names another"
        raise click.ClickException(message) from error
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def _exported(engine: str, image: str) -> Iterator[IO[bytes]]:
    container = _run_engine(engine, "create", image)
    try:
        command = [engine, "export", container]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            files = cast("IO[bytes]", process.stdout)
            yield files
            files.read()  # the padding: a closed pipe would end the engine
        if process.returncode:
            raise click.ClickException(f"{' '.join(command)} failed: see above")
    finally:
        _run_engine(engine, "rm", container)


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--engine", default="docker", help="Docker or podman.", show_default=True)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("sbom"),
    show_default=True,
    help="Where NAME.cdx.json goes for each image.",
)
def main(images: tuple[str, ...], engine: str, folder: Path) -> None:
    """Write the bill of materials of each of IMAGES, which have to be on this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        config = "{{json .Config.Env}}"
        answer = _run_engine(engine, "image", "inspect", "--format", config, image)
        with _exported(engine, image) as files:
            contents = read_contents(files, json.loads(answer) or ())
        name = re.sub(r"[^\w.-]+", "-", image)
        path = folder / f"{name}.cdx.json"
        path.write_text(describe(image, contents), encoding="utf-8")
        click.echo(
            f"{path}: {len(contents.debian)} packages of {contents.distribution}, "
            f"{len(contents.python)} of Python, {len(contents.hashes)} with their hash"
        )


if __name__ == "__main__":
    main()
