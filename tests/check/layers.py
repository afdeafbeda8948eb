#!/usr/bin/env python3
"""Includes go downwards only, and each third-party header has one owner.

The tables below are the rules; DESIGN and CONTRIBUTING only repeat them. A file belongs to the
first row of LAYERS that matches its path, and may include its own folder and what its row names.
"""

import fnmatch
import re

import tree

BASE = ["storage/base/*"]
# The public faces of storage/.
STORE = ["storage/store.h", "storage/datasets.h", "storage/jobs.h", "storage/maintenance.h", *BASE]
# What the parts of storage/ above engine.h see of the parts below it.
UNDER_ENGINE = ["storage/engine.h", "storage/io/*", "storage/codec/*", *BASE]

# (files, what they may include beside their own folder)
LAYERS = [
    ("tests/*", ["*"]),
    ("bench/*", ["client/*", *STORE]),
    ("cli/*", ["client/*", *STORE]),
    ("client/examples/*", ["client/coffer.h"]),  # the first users of the library
    ("client/*", []),
    ("server/*", ["api/*", *STORE]),
    ("api/*", STORE),
    # The two interfaces: the face, and what an engine promises. They show nothing of the inside.
    ("storage/store.h", BASE),
    ("storage/datasets.h", ["storage/store.h", *BASE]),
    ("storage/jobs.h", ["storage/store.h", "storage/job_kinds.def", *BASE]),
    ("storage/maintenance.h", ["storage/store.h", *BASE]),
    ("storage/engine.h", BASE),
    # Siblings under one roof; dataset stands above chunk, chunk above channel.
    ("storage/dataset/*", ["storage/datasets.h", "storage/store.h", "storage/chunk/*", "storage/channel/*",
                           *UNDER_ENGINE]),
    ("storage/maintain/*", ["storage/maintenance.h", "storage/jobs.h", "storage/job_kinds.def", "storage/store.h",
                            "storage/chunk/*", "storage/channel/*", *UNDER_ENGINE]),
    ("storage/chunk/*", ["storage/store.h", "storage/channel/*", *UNDER_ENGINE]),
    ("storage/channel/*", ["storage/store.h", *UNDER_ENGINE]),
    # The engines implement engine.h.
    ("storage/pack/*", ["storage/engine.h", "storage/index/*", "storage/codec/*", "storage/io/*",
                        *BASE]),
    ("storage/memory/*", ["storage/engine.h", "storage/index/*", "storage/codec/*",
                          "storage/io/*", *BASE]),
    ("storage/index/*", BASE),
    ("storage/codec/*", BASE),
    ("storage/io/*", BASE),
    ("storage/base/*", []),
    # What lies in storage/ itself puts the parts together.
    ("storage/*.[ch]", ["storage/*"]),
]

TESTS = ["*_test.c", "tests/*"]
# (header, the only files that may include it); tests may use what their row says.
OWNERS = [
    ("rocksdb/*", ["storage/index/*"]),
    ("microhttpd.h", ["server/http_mhd*", "bench/bare_mhd.c"]),
    ("zstd.h", ["storage/codec/*", *TESTS]),
    ("zstd_errors.h", ["storage/codec/*"]),
    ("openssl/*", ["storage/base/digest.c"]),
    ("xxhash.h", ["storage/base/checksum.h", "storage/base/checksum.c"]),
    ("liburing.h", ["storage/io/*"]),
    ("jansson.h", ["api/*", "server/options*", "client/*", "cli/*", *TESTS]),
    ("archive.h", ["api/tar_*.c", *TESTS]),
    ("archive_entry.h", ["api/tar_*.c", *TESTS]),
    ("curl/*", ["api/notify.c", "client/*", "bench/*", *TESTS]),
    ("zlib.h", ["storage/maintain/import_*.c", *TESTS]),
    ("sqlite3.h", ["storage/maintain/import_*.c", *TESTS]),
    ("cmocka.h", TESTS),
]

# The C library and the kernel; anything else in <> is third-party and needs an owner above.
SYSTEM = re.compile(
    r"(sys|linux|net|netinet|arpa|asm)/[a-z_0-9]+\.h"
    r"|(assert|ctype|dirent|dlfcn|endian|errno|execinfo|fcntl|float|fnmatch|fts|ftw|getopt|glob|grp"
    r"|ifaddrs|inttypes|limits|locale|malloc|math|mntent|netdb|poll|pthread|pwd|regex|sched|search"
    r"|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib"
    r"|stdnoreturn|string|strings|sysexits|syslog|termios|threads|time|uchar|ucontext|unistd|utime"
    r"|wchar|wctype|immintrin|cpuid|x86intrin)\.h")

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def layer_of(path):
    for pattern, allowed in LAYERS:
        if fnmatch.fnmatchcase(path, pattern):
            return pattern, allowed
    return None


def check_local(report, root, path, line, target):
    if not (root / target).is_file():
        report.error(path, line, f'"{target}" is not a path from the root of the tree')
        return
    if matches(path, TESTS) and (target.startswith("tests/") or path.startswith("tests/")):
        return
    row = layer_of(path)
    if row is None:
        report.error(path, line, "this folder has no layer; see LAYERS in tests/check/layers.py")
        return
    own = path.rsplit("/", 1)[0] + "/"
    if target.startswith(own) and "/" not in target[len(own):]:
        return
    # A unit test may put together the parts of its own layer that its module only gets handed.
    top = path.split("/", 1)[0] + "/"
    if matches(path, TESTS) and target.startswith(top):
        return
    if not matches(target, row[1]):
        report.error(path, line, f'{row[0]} may not include "{target}": includes go downwards')


def check_system(report, path, line, target):
    for pattern, owners in OWNERS:
        if fnmatch.fnmatchcase(target, pattern):
            if not matches(path, owners):
                report.error(path, line, f"<{target}> belongs to {', '.join(owners)}")
            return
    if not SYSTEM.fullmatch(target):
        report.error(path, line, f"<{target}> has no owner; see OWNERS in tests/check/layers.py")


def check_own_header_first(report, root, path, includes):
    if not path.endswith(".c"):
        return
    header = path[:-len("_test.c")] + ".h" if path.endswith("_test.c") else path[:-2] + ".h"
    if not (root / header).is_file() or not includes:
        return
    own = [line for line, _, target in includes if target == header]
    if own and includes[0][2] != header:
        report.error(path, own[0], f'"{header}" is its own header and comes first')
    if not own and not path.endswith("_test.c"):
        report.error(path, includes[0][0], f'does not include its own header "{header}"')


def check_names(report, paths):
    """One file name stands once in the tree, so that a name alone says which file is meant."""
    seen = {}
    for path in paths:
        if path.name != "main.c" and path.name in seen:
            report.error(path, 1, f"{seen[path.name]} has this name already")
        seen.setdefault(path.name, path)


def main():
    args = tree.arguments(__doc__)
    report = tree.Report("layers")
    paths = tree.files(args.root, ".c", ".h")
    check_names(report, paths)
    for relative in paths:
        path = relative.as_posix()
        text = tree.read(args.root, relative) or ""
        includes = []
        for number, line in enumerate(text.splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                includes.append((number, match[1], match[2]))
        for number, kind, target in includes:
            if kind == '"':
                check_local(report, args.root, path, number, target)
            else:
                check_system(report, path, number, target)
        headers = [entry for entry in includes if not entry[2].endswith(".def")]
        check_own_header_first(report, args.root, path, headers)
        if path.endswith(".h") and "\n#pragma once\n" not in "\n" + text:
            report.error(path, 1, "a header says #pragma once")
    report.finish(len(paths))


if __name__ == "__main__":
    main()
