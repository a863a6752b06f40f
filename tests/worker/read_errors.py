"""Errors of reading photos, as a disk or a mount gives them, in processes of our own.

A small library that is loaded before libc lets `open` and `read` of ``*.png`` fail while
a file says so; it is compiled in the test, because nothing else can make a disk fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import wait_until

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char photo[65536];

static int told(const char *call) {
    const char *path = getenv("READ_ERRORS");
    char struck[4096], name[16];
    int number = 0;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    int found = fscanf(file, "%15s %d", name, &number);
    fclose(file);
    if (found != 2 || strcmp(name, call)) return 0;
    snprintf(struck, sizeof struck, "%s.struck", path);
    if ((file = fopen(struck, "a"))) fclose(file);
    return number;
}

static int is_photo(const char *path) {
    const char *ending = getenv("READ_ERRORS_OF");
    size_t length = strlen(path);
    return ending && length > 4 && !strcmp(path + length - 4, ending);
}

#define OPENER(NAME, PARAMETERS, ARGUMENTS) \\
    int NAME PARAMETERS { \\
        static int (*real) PARAMETERS; \\
        if (!real) real = dlsym(RTLD_NEXT, #NAME); \\
        va_list rest; va_start(rest, flags); \\
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; \\
        va_end(rest); \\
        int error = is_photo(path) ? told("open") : 0; \\
        if (error) { errno = error; return -1; } \\
        int opened = real ARGUMENTS; \\
        if (opened >= 0 && opened < (int) sizeof photo) photo[opened] = is_photo(path); \\
        return opened; \\
    }

OPENER(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENER(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

ssize_t read(int descriptor, void *buffer, size_t count) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "read");
    int ours = descriptor >= 0 && descriptor < (int) sizeof photo && photo[descriptor];
    int error = ours ? told("read") : 0;
    if (error) { errno = error; return -1; }
    return real(descriptor, buffer, count);
}
""".replace("\\\\", "\\")


class ReadErrors:
    """The switch, for processes that have `env`."""

    def __init__(self, folder: Path, ending: str = ".png") -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            if os.environ.get("CI") == "true":
                pytest.fail("no C compiler: install gcc")
            pytest.skip("no C compiler: install gcc")
        library = folder / "read_errors.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"],
            input=SOURCE.encode(),
            check=True,
        )
        self._switch = folder / "read-errors"
        self._struck = folder / "read-errors.struck"
        self.env = {
            "LD_PRELOAD": str(library),
            "READ_ERRORS": str(self._switch),
            "READ_ERRORS_OF": ending,
        }

    @contextmanager
    def given(self, call: str, number: int) -> Iterator[None]:
        """*call* ("open" or "read") fails with errno *number*, once at least."""
        written = self._switch.with_suffix(".new")
        written.write_text(f"{call} {number}\n")
        written.rename(self._switch)
        try:
            yield
            wait_until(self._struck.exists, "the error of reading")
        finally:
            self._switch.unlink()
            self._struck.unlink(missing_ok=True)
