"""The command from what was downloaded to a split that trains."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from export.data.checks.findings import Finding
    from export.data.preparation.prepare import Prepared

_PATH = click.Path(path_type=Path)


@click.command(
    epilog="Examples: kennel prepare dogs-vs-cats-redux.zip var/data/pets --valid 2000; "
    "kennel prepare state-farm var/data/drivers --csv driver_imgs_list.csv "
    "--group-by subject"
)
@click.argument("source", metavar="SRC", type=_PATH)
@click.argument("dest", type=_PATH)
@click.option(
    "--layout",
    type=click.Choice(["flat", "classes", "csv", "idx"]),
    help="How SRC is laid out; default: found out.",
)
@click.option(
    "--csv",
    "csv_file",
    type=_PATH,
    help="A CSV of photos and labels, also relative to SRC; default: the one in SRC.",
)
@click.option("--photo-column", help="The CSV's column of photos; default: found out.")
@click.option("--label-column", help="The CSV's column of labels; default: found out.")
@click.option("--group-by", help="The CSV's column that the split keeps together.")
@click.option("--labels", default="", help="Names of IDX classes, comma-separated.")
@click.option(
    "--valid",
    default="0.2",
    show_default=True,
    help="Photos for validation: a count (2000) or a share (0.2).",
)
@click.option("--sample-train", type=click.IntRange(0), default=200, show_default=True)
@click.option("--sample-valid", type=click.IntRange(0), default=50, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=42, show_default=True)
@click.option("--stratify/--no-stratify", default=True, show_default=True)
@click.option("--link", "transfer", flag_value="link", help="Hard links (default).")
@click.option("--copy", "transfer", flag_value="copy", help="Copies.")
@click.option(
    "--move", "transfer", flag_value="move", help="Move the files out of SRC."
)
@click.option("--strict", is_flag=True, help="Write nothing if anything is found.")
@click.option("--force", is_flag=True, help="Make DEST anew with these options.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def prepare(
    source: Path,
    dest: Path,
    layout: str | None,
    csv_file: Path | None,
    labels: str,
    transfer: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check the photos in SRC and split them into DEST: train, valid, test, sample.

    SRC is a folder or zip file: Kaggle's flat cat.0.jpg, class folders, photos and a
    CSV, or MNIST's IDX files.
    """
    from export.data.preparation.prepare import prepare as prepare_folder
    from export.data.preparation.refusals import StrictError
    from export.data.preparation.request import PrepareRequest, parse_amount
    from export.data.sources.layouts import Reading
    from kennel.progress import progress_bars

    names = tuple(name.strip() for name in labels.split(",")) if labels else ()
    csv_path = _find_csv(csv_file, source) if csv_file else None
    request = PrepareRequest(
        source=source.absolute(),
        dest=dest.absolute(),
        reading=Reading(
            layout,
            csv_path,
            options.pop("group_by"),
            names,
            options.pop("photo_column"),
            options.pop("label_column"),
        ),
        valid=parse_amount(options.pop("valid")),
        transfer=transfer or "link",
        **options,
    )
    try:
        with progress_bars() as progress:
            prepared = prepare_folder(request, progress)
    except StrictError as refusal:
        _print_findings(refusal.findings, as_json=as_json)
        raise
    if as_json:
        click.echo(json.dumps(_summary(prepared), ensure_ascii=False))
        return
    _print_findings(prepared.manifest.findings, as_json=False)
    _print_parts(prepared)


def _find_csv(given: Path, source: Path) -> Path:
    found = (path for path in (given, source / given) if path.is_file())
    # What is neither may be in an archive.
    return next((path.absolute() for path in found), given)


def _printable(text: str) -> str:
    # File names may hold anything but a slash.
    shown = text.encode(errors="backslashreplace").decode()
    return shown if shown.isprintable() else ascii(shown)


def _print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    from export.data.checks.findings import MAX_NAMED

    if as_json:
        click.echo(json.dumps({"findings": [dataclasses.asdict(x) for x in findings]}))
        return
    for finding in findings:
        click.echo(f"{finding.count:>7,}  {finding.kind}: {finding.remedy}")
        for example in finding.examples[:MAX_NAMED]:
            click.echo(f"{'':9}{_printable(example)}")
        if finding.count > MAX_NAMED:
            click.echo(f"{'':9}... and {finding.count - MAX_NAMED:,} more")


def _print_parts(prepared: Prepared) -> None:
    manifest = prepared.manifest
    for part, counts in manifest.counts().items():
        each = ", ".join(f"{label} {count:,}" for label, count in counts.items())
        shown = each if part != "test" else ""
        click.echo(f"{part:<14}{sum(counts.values()):>8,}  {shown}".rstrip())
    if manifest.labelled_by:
        click.echo(f"Labels: {_printable(manifest.labelled_by)}")
    click.echo(f"Split: {manifest.grouping}, seed {manifest.seed}")
    state = "Prepared" if prepared.changed else "Nothing to do, already prepared"
    click.echo(f"{state}: {prepared.folder}\nNext: kennel train {prepared.folder}")


def _summary(prepared: Prepared) -> dict[str, Any]:
    content = prepared.manifest.content()
    del content["files"]
    counts = prepared.manifest.counts()
    return {
        "folder": str(prepared.folder),
        "changed": prepared.changed,
        "counts": {
            part: sum(each.values()) if part == "test" else each
            for part, each in counts.items()
        },
        **content,
    }
