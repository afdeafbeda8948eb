#!/usr/bin/env python3
"""clang-tidy, as .clang-tidy says, over every .c of the clang build.

The path-sensitive clang-analyzer-* takes most of the time: tests go without, and with --fast
everything. A file whose preprocessed text, flags and rules are what they were when it last passed
is not looked at again; stamps lie in the build directory.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

import tree

RULES = tree.REPOSITORY / ".clang-tidy"
CONFIGURE = ["cmake", "--preset", "clang"]
# A test may call exit(), strerror() and atoi() as it likes, write sizes as products of constants,
# put texts together in its tables, and walk through the folders that it made.
TEST_CHECKS = ("-concurrency-mt-unsafe,-cert-err34-c,-misc-no-recursion,"
               "-bugprone-implicit-widening-of-multiplication-result,"
               "-bugprone-suspicious-missing-comma,-clang-diagnostic-string-concatenation")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="without clang-analyzer-*")
    parser.add_argument("--root", type=pathlib.Path, default=tree.REPOSITORY)
    parser.add_argument("--build", type=pathlib.Path, help="a configured clang build directory")
    parser.add_argument("files", nargs="*", help="only these (from the root of the tree)")
    return parser.parse_args()


def configured(build):
    """The build directory; without --build the preset's own, configured here."""
    if build is None:
        subprocess.run(CONFIGURE, cwd=tree.REPOSITORY, check=True, stdout=subprocess.DEVNULL)
        build = tree.REPOSITORY / "build" / "clang"
    return build


def commands(root, build, wanted):
    """file: (directory, compile command), one each, of ours."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = pathlib.Path(entry["file"])
        if not path.is_relative_to(root) or not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        if not wanted or name in wanted:
            found.setdefault(name, (entry["directory"], shlex.split(entry["command"])))
    return found


def checks_for(name, fast):
    test = name.startswith(("tests/", "bench/")) or name.endswith("_test.c")
    off = ["-clang-analyzer-*"] if fast or test else []
    return ",".join([*off, TEST_CHECKS] if test else off)


def fingerprint(directory, command, checks):
    """All that the answer depends on, as one name; None if the file does not even preprocess."""
    without_output = [word for at, word in enumerate(command)
                      if word not in ("-o", "-c") and command[at - 1] != "-o"]
    text = subprocess.run([*without_output, "-E"], cwd=directory, capture_output=True, check=False)
    if text.returncode != 0:
        return None
    return hashlib.sha256(b"\0".join(
        [text.stdout, RULES.read_bytes(), checks.encode(), " ".join(command).encode()])).hexdigest()


def look(build, path, directory, command, checks):
    """The findings in one file as text, None when it is clean."""
    stamps = build / "tidy"
    key = fingerprint(directory, command, checks)
    if key is not None and (stamps / key).exists():
        return None
    tidy = ["clang-tidy", "-p", str(build), "--quiet", f"--config-file={RULES}",
            str(path)]
    if checks:
        tidy.insert(1, f"--checks={checks}")
    done = subprocess.run(tidy, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        if key is not None:
            (stamps / key).touch()
        return None
    # Standard error only counts the warnings of headers that are not ours, unless it fails.
    return done.stdout.strip() or done.stderr.strip() or f"{path}: clang-tidy failed"


def main():
    args = parse()
    build = configured(args.build)
    (build / "tidy").mkdir(exist_ok=True)
    todo = commands(args.root, build, set(args.files))
    if not todo:
        print("check tidy: no file to look at")
        sys.exit(1)
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(
            lambda item: look(build, args.root / item[0], *item[1],
                              checks_for(item[0], args.fast)), sorted(todo.items()))
        for answer in answers:
            if answer is not None:
                bad += 1
                print(answer.replace(f"{args.root}/", ""), flush=True)
    print(f"check tidy: {len(todo)} files, {bad} with findings")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
