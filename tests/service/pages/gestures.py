"""Dropping, pasting and choosing files on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page

Files = dict[str, bytes]
"""Content by name."""

_TRANSFER = """
    const transfer = new DataTransfer();
    for (const [name, bytes] of Object.entries(files)) {
        transfer.items.add(new File([new Uint8Array(bytes)], name));
    }
"""
_DROP = f"""files => {{ {_TRANSFER}
    const options = {{ dataTransfer: transfer, bubbles: true, cancelable: true }};
    document.body.dispatchEvent(new DragEvent("dragover", options));
    document.body.dispatchEvent(new DragEvent("drop", options));
}}"""
_PASTE = f"""files => {{ {_TRANSFER}
    const options = {{ clipboardData: transfer, bubbles: true }};
    document.body.dispatchEvent(new ClipboardEvent("paste", options));
}}"""


def choose(page: Page, files: Files) -> None:
    page.set_input_files("#files", payloads(files))


def drop(page: Page, files: Files) -> None:
    page.evaluate(_DROP, _numbers(files))


def paste(page: Page, files: Files) -> None:
    page.evaluate(_PASTE, _numbers(files))


def payloads(files: Files) -> list[FilePayload]:
    return [
        {"name": name, "mimeType": "image/png", "buffer": content}
        for name, content in files.items()
    ]


def _numbers(files: Files) -> dict[str, list[int]]:
    return {name: list(content) for name, content in files.items()}
