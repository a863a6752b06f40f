"""Which files of a folder are photos: by name, then by their first bytes."""

from __future__ import annotations

import pytest

from models.images.formats import is_photo, is_system_file

_JPEG = b"\xff\xd8\xff\xe0"
_HEIC = b"\0\0\0\x18ftypheic"


@pytest.mark.parametrize(
    ("name", "start", "photo"),
    [
        ("1.jpg", b"", True),
        ("1.JFIF", b"", True),
        ("1.HEIC", b"", True),
        ("1", _JPEG, True),
        ("1.txt", _JPEG, True),
        ("1.dat", _HEIC, True),
        ("1.tga", b"\0\0\2" + bytes(9) + b"\1\0\1\0\x18\0", True),
        ("1.ppm", b"P6 1 1 255\n", True),
        ("1.txt", b"P1 is the first patient\n", False),
        ("1.wav", b"RIFF\0\0\0\0WAVE", False),
        ("1.avi", b"RIFF\0\0\0\0AVI ", False),
        ("1.npy", b"\x93NUMPY", False),
        ("1.bin", bytes(512), False),
        ("1.mov", b"\0\0\0\x14ftypqt  ", False),
        ("1", b"just text", False),
        ("1.xml", b"<?xml version='1.0'?><annotation/>", False),
        ("1.xlsx", b"PK\x03\x04", False),
        ("._1.jpg", _JPEG, False),
        ("Thumbs.db", _JPEG, False),
    ],
)
def test_photos_are_told_by_name_then_by_bytes(
    name: str, start: bytes, *, photo: bool
) -> None:
    assert is_photo(name, lambda: start) is photo


@pytest.mark.parametrize("name", ["__MACOSX", ".DS_Store", "desktop.ini", "@eaDir"])
def test_what_systems_add_is_told(name: str) -> None:
    assert is_system_file(name)
