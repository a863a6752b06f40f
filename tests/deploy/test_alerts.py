"""The alerts: valid, tested one by one, and each with a runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click import Context

from kennel.cli import main
from models.contract import ENOUGH_IMAGES, NOTABLE_PSI
from tests.deploy.prometheus import (
    PROMETHEUS,
    RULE_FILES,
    RUNBOOKS,
    TEST_FILES,
    promtool,
    rules,
)

ALERTS = {rule["alert"]: rule for rule in rules("alert")}
PAGES = {page.stem: page for page in RUNBOOKS.glob("*.md") if page.stem != "README"}
SECTIONS = ["What it means", "Confirm", "Likely causes", "Remedy", "Escalate"]


def test_prometheus_understands_its_configuration() -> None:
    # The syntax only: the key that it names is a secret of the containers.
    configuration = PROMETHEUS / "prometheus.yml"

    assert "SUCCESS" in promtool("check", "config", "--syntax-only", configuration)


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.stem)
def test_prometheus_understands_its_rules(file: Path) -> None:
    assert "SUCCESS" in promtool("check", "rules", file)


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_alerts_fire_and_do_not_fire_just_below(file: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", file)


@pytest.mark.parametrize("verb", ["fires", "is quiet"])
def test_every_alert_is_tested_on_both_sides(verb: str) -> None:
    tests = [
        each["name"]
        for file in TEST_FILES
        for each in yaml.safe_load(file.read_text())["tests"]
    ]

    for alert in ALERTS:
        assert any(name.startswith(f"{alert} {verb}:") for name in tests), alert


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_says_what_is_wrong_how_much_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    annotations = rule["annotations"]

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert annotations["summary"]
    assert "{{ $value" in annotations["description"]
    assert annotations["runbook_url"] == f"docs/runbooks/{alert}.md"


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert set(PAGES) == set(ALERTS)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_page_answers_what_one_asks_at_night(name: str) -> None:
    text = PAGES[name].read_text()

    assert text.startswith(f"# {name}\n\n*{ALERTS[name]['labels']['severity']}*")
    assert re.findall("^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert f"[{name}]({name}.md)" in (RUNBOOKS / "README.md").read_text()


def test_pages_lead_somewhere() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_pages_name_commands_that_there_are() -> None:
    known = main.list_commands(Context(main))
    for page in RUNBOOKS.glob("*.md"):
        code = re.findall(r"```(.*?)```|`([^`\n]+)`", page.read_text(), re.DOTALL)
        text = "\n".join(part for pair in code for part in pair)
        for command in re.findall(r"kennel(?:\.cli)? ([a-z][a-z-]+)\b(?!:)", text):
            if command not in {"info", "ping"}:  # redis-cli --user kennel
                assert command in known, f"{page.name}: kennel {command}"


def test_drift_is_judged_as_on_the_models_page() -> None:
    expression = ALERTS["AnswersDrift"]["expr"]

    assert f"> {NOTABLE_PSI}\n" in expression
    assert f">= {ENOUGH_IMAGES}\n" in expression


def test_rules_are_mounted_beside_the_configuration() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())

    [pattern] = config["rule_files"]
    assert sorted(PROMETHEUS.glob(pattern)) == RULE_FILES
