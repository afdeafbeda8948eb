#!/usr/bin/env python3
"""No file over 600 lines, no function over 80 (from 70 a warning): look for the second thing
that it does. A function is what stands between { and } in the first column."""

import tree

FILE_MAX = 600
FUNCTION_LONG = 70
FUNCTION_MAX = 80
SUFFIXES = (".c", ".h", ".def", ".sh", ".py", ".cmake")


def check_functions(report, path, lines):
    start = 0
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start:
            length = number - start - 1
            if length > FUNCTION_MAX:
                report.error(path, start, f"function of {length} lines, at most {FUNCTION_MAX}")
            elif length > FUNCTION_LONG:
                report.warning(path, start, f"function of {length} lines, better {FUNCTION_LONG}")
            start = 0


def main():
    args = tree.arguments(__doc__)
    report = tree.Report("sizes")
    paths = tree.files(args.root, *SUFFIXES)
    for path in paths:
        lines = (tree.read(args.root, path) or "").splitlines()
        if len(lines) > FILE_MAX:
            report.error(path, FILE_MAX, f"file of {len(lines)} lines, at most {FILE_MAX}")
        if path.suffix == ".c":
            check_functions(report, path, lines)
    report.finish(len(paths))


if __name__ == "__main__":
    main()
