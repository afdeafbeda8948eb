"""What every checker needs: the files of the tree, how to report, the command line."""

import argparse
import pathlib
import subprocess
import sys

SKIPPED_FOLDERS = {".git", ".cache", "build", "coffer-data"}
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def _walk(root):
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] not in SKIPPED_FOLDERS:
            yield relative


def files(root, *suffixes):
    """Relative paths of the tracked and not ignored files; without git, of all but build output."""
    git = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False) if (root / ".git").exists() else None
    if git is not None and git.returncode == 0:
        listed = {pathlib.Path(name) for name in git.stdout.split("\0") if name}
        found = [path for path in listed if (root / path).is_file()]
    else:
        found = list(_walk(root))
    return sorted(path for path in found if not suffixes or path.suffix in suffixes)


def read(root, path):
    """The text of a file, or None if it is not text."""
    try:
        return (root / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


class Report:
    """Findings, printed as FILE:LINE: TEXT, so that editors and people can jump to them."""

    def __init__(self, name):
        self.name = name
        self.errors = 0
        self.warnings = 0

    def error(self, path, line, text):
        self.errors += 1
        print(f"{path}:{line}: {text}")

    def warning(self, path, line, text):
        self.warnings += 1
        print(f"{path}:{line}: warning: {text}")

    def finish(self, checked):
        if checked == 0:
            self.error(".", 1, "no file to look at: nothing was checked")
        print(f"check {self.name}: {checked} files, {self.errors} errors"
              + (f", {self.warnings} warnings" if self.warnings else ""))
        sys.exit(1 if self.errors else 0)


def arguments(description, *flags):
    """--root DIR to look at another tree than this one (the self-test does), and `flags`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=pathlib.Path, default=REPOSITORY)
    for flag, text in flags:
        parser.add_argument(flag, action="store_true", help=text)
    return parser.parse_args()
