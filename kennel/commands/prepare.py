"""`kennel prepare`: from downloaded photos to a split that trains."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kennel.terminal import progress_bars
from models.text import printable

if TYPE_CHECKING:
    from export.data.prepare import Prepared
    from export.data.sources.files import Finding


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
    help="How SRC is laid out; default: detected.",
)
@click.option(
    "--csv",
    "csv_file",
    type=_PATH,
    help="A CSV of photos and labels, also relative to SRC; default: the one in SRC.",
)
@click.option("--photo-column", help="The CSV's column of photos; default: detected.")
@click.option("--label-column", help="The CSV's column of labels; default: detected.")
@click.option(
    "--group-by",
    help="A CSV column: photos with the same value (driver, patient) stay in one split.",
)
@click.option(
    "--encoding",
    help="Encoding of names in archives that are not UTF-8: gbk, shift_jis, cp437.",
)
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
@click.option(
    "--strict",
    is_flag=True,
    help="Write nothing if anything is found or left out.",
)
@click.option("--force", is_flag=True, help="Replace DEST, with these options.")
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

    SRC is a folder, zip or tar file: Kaggle's flat cat.0.jpg, class folders, photos and
    a CSV, or MNIST's IDX files. Folders for training, validation and test are
    recognised by their names. What was found, taken and left out is printed with the
    reasons.
    """
    from export.data.layouts.collect import SourceOptions
    from export.data.prepare import PrepareRequest, StrictError, parse_amount
    from export.data.prepare import prepare as prepare_folder

    names = tuple(name.strip() for name in labels.split(",")) if labels else ()
    csv_path = _find_csv(csv_file, source) if csv_file else None
    request = PrepareRequest(
        source=source.absolute(),
        dest=dest.absolute(),
        source_options=SourceOptions(
            layout,
            csv_path,
            options.pop("group_by"),
            names,
            options.pop("photo_column"),
            options.pop("label_column"),
            options.pop("encoding"),
        ),
        valid=parse_amount(options.pop("valid")),
        transfer=transfer or "link",
        **options,
    )
    try:
        with progress_bars() as progress:
            prepared = prepare_folder(request, progress)
    except StrictError as refusal:
        if as_json:
            found = [dataclasses.asdict(each) for each in refusal.findings]
            click.echo(json.dumps({"findings": found}))
        else:
            print_findings(refusal.findings)
        raise
    if as_json:
        click.echo(json.dumps(_summary(prepared), ensure_ascii=False))
        return
    if prepared.manifest.found:
        print_source(prepared.manifest.found)
    print_findings(prepared.manifest.findings)
    _print_parts(prepared)


def _find_csv(given: Path, source: Path) -> Path:
    found = (path for path in (given, source / given) if path.is_file())
    # A path that is neither may lie in the archive SRC.
    return next((path.absolute() for path in found), given)


def print_findings(
    findings: Iterable[Finding], *, named: int = 10, err: bool = False
) -> None:
    """Print each finding, its remedy and the first *named* examples; *err*: to stderr."""
    for finding in findings:
        click.echo(f"{finding.count:>7,}  {finding.kind}: {finding.remedy}", err=err)
        for example in finding.examples[:named]:
            click.echo(f"{'':9}{_printable(example)}", err=err)
        if finding.count > named:
            click.echo(f"{'':9}... and {finding.count - named:,} more", err=err)


def print_source(found: Mapping[str, Any], *, err: bool = False) -> None:
    """Print what a source held: layout, parts, files taken and left out."""
    parts = [
        f"{part} in {_printable(folder) or 'the source itself'}"
        for folder, part in found["parts"].items()
    ]
    layout = "; ".join([f"layout {found['layout']}", *parts])
    click.echo(f"{'Found':<10}{found['files']:>8,} files: {layout}", err=err)
    click.echo(f"{'Taken':<10}{found['taken']:>8,} photos", err=err)
    click.echo(f"{'Left out':<10}{found['left_out']:>8,} files", err=err)


def _printable(text: str) -> str:
    shown = printable(text)
    return shown if shown.isprintable() else ascii(shown)


def _print_parts(prepared: Prepared) -> None:
    from export.data.manifest import FLAT_PARTS

    manifest = prepared.manifest
    for part, counts in manifest.counts().items():
        each = ", ".join(f"{label} {count:,}" for label, count in counts.items())
        shown = "" if part in FLAT_PARTS else each
        click.echo(f"{part:<14}{sum(counts.values()):>8,}  {shown}".rstrip())
    if manifest.labelled_by:
        click.echo(f"Labels: {_printable(manifest.labelled_by)}")
    click.echo(f"Split: {manifest.grouping}, seed {manifest.seed}")
    state = "Prepared" if prepared.changed else "Nothing to do, already prepared"
    click.echo(f"{state}: {prepared.folder}\nNext: kennel train {prepared.folder}")


def _summary(prepared: Prepared) -> dict[str, Any]:
    from export.data.manifest import FLAT_PARTS

    content = prepared.manifest.content()
    del content["files"]
    counts = prepared.manifest.counts()
    return {
        "folder": str(prepared.folder),
        "changed": prepared.changed,
        "counts": {
            part: sum(each.values()) if part in FLAT_PARTS else each
            for part, each in counts.items()
        },
        **content,
    }
