"""The command that shows the ways to train."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command(epilog="Examples: kennel recipes; kennel recipes conv-block5 --json")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def recipes(name: str | None, as_json: bool) -> None:
    """List the ways to train, or everything about the one called NAME."""
    from export.recipes.catalogue import RECIPES, find_recipe

    chosen = [find_recipe(name)] if name else list(RECIPES.values())
    if as_json or name:
        shown = [{"command": each.command, **asdict(each)} for each in chosen]
        click.echo(json.dumps(shown, indent=2))
        return
    for each in chosen:
        click.echo(f"{each.name:<20}{each.network:<10}{each.source}")
        click.echo(f"{'':<20}{each.command}")
        if each.expects:
            click.echo(f"{'':<20}expect {each.expects}")
