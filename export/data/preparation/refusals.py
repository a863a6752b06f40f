"""When nothing is to be done: what would be overwritten, mixed up, or is not clean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.data.checks.findings import Finding
from export.data.checks.names import check_utf8
from export.data.manifest import Manifest
from export.data.preparation.request import PrepareRequest
from models.errors import ConflictError, DatasetError, InvalidRequestError
from models.files import TEMPORARY_PREFIX


class StrictError(DatasetError):
    """``--strict``, and there are findings; nothing was done."""

    code = "dataset_findings"

    def __init__(self, findings: Sequence[Finding]) -> None:
        """Keep the *findings* for whoever prints them."""
        kinds = ", ".join(f"{each.count} {each.kind}" for each in findings)
        super().__init__(f"nothing was done, for --strict found: {kinds}")
        self.findings = tuple(findings)


def check_places(request: PrepareRequest) -> None:
    """Refuse a source and a destination of which one lies in the other.

    Raises:
        InvalidRequestError: they do.
        DatasetError: a path is not UTF-8.
    """
    check_utf8([str(request.source), str(request.dest)])
    source, dest = request.source.resolve(), request.dest.resolve()
    if source.is_relative_to(dest) or dest.is_relative_to(source):
        message = (
            f"{request.dest} and {request.source} lie one in the other: give a "
            "destination outside the source"
        )
        raise InvalidRequestError(message)


def check_empty(dest: Path) -> None:
    """Refuse a destination that holds anything not of ours.

    Raises:
        ConflictError: it does.
    """
    if dest.exists() and not dest.is_dir():
        raise ConflictError(f"{dest} is a file: give another destination")
    there = [each.name for each in dest.iterdir()] if dest.exists() else []
    strange = sorted(name for name in there if not name.startswith(TEMPORARY_PREFIX))
    if strange:
        message = (
            f"{dest} is not empty ({strange[0]}) and was not made by kennel prepare: "
            "give another destination"
        )
        raise ConflictError(message)


def check_same_source(request: PrepareRequest, manifest: Manifest) -> None:
    """Refuse to make a folder anew from another source.

    Raises:
        ConflictError: the source is another.
    """
    source = manifest.options["source"]
    if source != str(request.source):
        message = f"{request.dest} was prepared from {source}: use another destination"
        raise ConflictError(message)


def check_strict(request: PrepareRequest, manifest: Manifest) -> None:
    """Refuse findings if the request is strict.

    Raises:
        StrictError: there are some.
    """
    if request.strict and manifest.findings:
        raise StrictError(manifest.findings)


def differing_options(request: PrepareRequest, manifest: Manifest) -> list[str]:
    """What *request* asks for otherwise than *manifest* was made, in words.

    Options that an older version did not know are as if they had not been given.
    """
    now, then = request.options(), manifest.options
    return [
        f"{name} {then.get(name)!r}, not {now.get(name)!r}"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]


def other_options(
    request: PrepareRequest, manifest: Manifest, what: str
) -> ConflictError:
    """The error for a folder that was made otherwise; it names the options."""
    differing = "; ".join(differing_options(request, manifest))
    return ConflictError(
        f"{request.dest} {what} with other options ({differing}): give another "
        "destination, or --force to make it anew"
    )
