"""Training reports of published versions: only from inside MODELS_DIR."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from export.report.page import render_report
from models.contract import REPORT_FILE
from service.pages.views import REPORT_POLICY, find_report
from tests.export.report.reports import full_content


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    report = tmp_path / "models" / "pets" / "3" / REPORT_FILE
    report.parent.mkdir(parents=True)
    report.write_text("<!doctype html>")
    return tmp_path / "models"


def test_report_of_a_version_is_found(models_dir: Path) -> None:
    found = find_report(models_dir, "pets", 3)

    assert found == (models_dir / "pets" / "3" / REPORT_FILE).resolve()


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("pets", 4),
        ("pets", 0),
        ("pets", -3),
        ("cows", 3),
        ("..", 3),
        ("../models/pets", 3),
        ("pets\0", 3),
        ("", 3),
        ("x" * 300, 3),
    ],
)
def test_anything_else_is_not_there(models_dir: Path, name: str, version: int) -> None:
    assert find_report(models_dir, name, version) is None


def test_folder_of_models_need_not_be_there(tmp_path: Path) -> None:
    assert find_report(tmp_path / "none", "pets", 3) is None


def test_link_out_of_the_folder_is_not_followed(
    models_dir: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.html"
    secret.write_text("<!doctype html>")
    report = models_dir / "pets" / "3" / REPORT_FILE
    report.unlink()
    report.symlink_to(secret)

    assert find_report(models_dir, "pets", 3) is None


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    circle = tmp_path / "models"
    circle.symlink_to(circle)

    assert find_report(circle, "pets", 3) is None


def test_report_needs_no_more_than_its_policy_allows(tmp_path: Path) -> None:
    page = render_report(full_content(tmp_path))

    sources = re.findall(r"""\b(?:src|href|srcset|action)=["']([^"']*)""", page)
    assert all(each.startswith(("data:image/", "#")) for each in sources)
    assert not re.search(r"<(?:script|iframe|object|embed|form|base|link)\b", page)
    assert not re.search(r"\son\w+=", page)
    assert "url(" not in page
    assert "@import" not in page
    assert "img-src data:" in REPORT_POLICY
