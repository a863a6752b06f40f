"""The report as a page: one file without external resources."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from export.report.content import ReportContent, ReportedPhotos
from export.report.page import render_report, write_report
from tests.export.report.reports import full_content, noisy_photos, some_photos

VOID = {"meta", "img", "br"}


class Outline(HTMLParser):
    """Headings, links, anchors and pictures of a page; complains of unclosed tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.levels: list[int] = []
        self.links: set[str] = set()
        self.anchors: list[str] = []
        self.sources: list[str] = []
        self.without_text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch(r"h\d", tag):
            self.levels.append(int(tag[1]))
        self.links |= {values["href"] or ""} if "href" in values else set()
        self.anchors += [values["id"] or ""] if "id" in values else []
        self.sources += [values["src"] or ""] if tag == "img" else []
        chart = values.get("role") == "img"
        if (tag == "img" and "alt" not in values) or (
            chart and not values.get("aria-label")
        ):
            self.without_text.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> str:
    return render_report(full_content(tmp_path))


def test_every_tag_is_closed_and_no_anchor_is_there_twice(page: str) -> None:
    outline = Outline(page)

    assert outline.open == []
    assert len(outline.anchors) == len(set(outline.anchors))


def test_contents_link_to_every_section(page: str) -> None:
    outline = Outline(page)

    sections = re.findall(r'<section id="(\w+)"', page)
    assert len(sections) >= 10
    assert outline.links == {f"#{each}" for each in [*sections, "content"]}


def test_headings_skip_no_level(page: str) -> None:
    levels = Outline(page).levels

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_pictures_have_words_and_need_no_network(page: str) -> None:
    outline = Outline(page)

    assert outline.without_text == []
    assert all(each.startswith("data:image/") for each in outline.sources)
    assert "<script" not in page
    assert "http" not in page
    assert "url(" not in page


def test_names_are_escaped(tmp_path: Path) -> None:
    labels = ("<b>cat</b>", 'dog"')
    photos = some_photos(tmp_path, labels)

    page = render_report(ReportContent("a < b", photos))

    assert "<b>cat" not in page
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    assert 'dog"' not in page
    assert "<title>a &lt; b</title>" in page


def test_sections_without_input_are_left_out(tmp_path: Path) -> None:
    page = render_report(ReportContent("few", some_photos(tmp_path)))

    found = re.findall(r'<section id="(\w+)"', page)
    assert found == [
        "figures", "confusion", "labels", "reliability", "clipping", "photos"
    ]  # fmt: skip


def test_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    photos = some_photos(tmp_path)
    only = ReportedPhotos(
        photos.labels, photos.files[:1], photos.classes[:1], photos.probabilities[:1]
    )

    page = render_report(ReportContent("one", only))

    assert "0.png cannot be shown: the file cannot be read" in page


def test_large_report_stays_below_8_megabytes(tmp_path: Path) -> None:
    target = tmp_path / "report.html"

    write_report(ReportContent("large", noisy_photos(tmp_path, 10, 300)), target)

    assert 5e5 < target.stat().st_size < 8e6
