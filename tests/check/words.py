#!/usr/bin/env python3
"""Words that must not land: work left to do, the folders of one machine, waiting by sleeping.

A test waits for the event. Where only asking again and again tells (a process that is to end,
a port that is to open), the pause between two asks says so on its line: "poll: WHAT".
"""

import re

import tree

# The brackets keep this file from finding itself.
EVERYWHERE = [
    (re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b"), "work left to do: do it, or file it"),
    (re.compile(r"""(?:^|[\s"'`(=:])/(?:ho[m]e|ro[o]t|Us[e]rs|wo[r]k)/\w"""),
     "a folder of one machine"),
]
SLEEP = re.compile(
    r"\b(?:u|nano|clock_nano)?sle[e]p\s*\(|\bthrd_sle[e]p\b"
    r"|(?:^|[;&|(]|\bdo\b|\bthen\b|\belse\b)\s*sle[e]p\s+[\d$\"]|time\.sle[e]p")
POLL = re.compile(r"(#|/\*|//).*\bpoll: \w")
NOT_OURS = re.compile(r"^LICENSE|/corpus/|/golden/")


def is_test(path):
    return path.startswith("tests/") or path.endswith("_test.c")


def main():
    args = tree.arguments(__doc__)
    report = tree.Report("words")
    paths = [path for path in tree.files(args.root) if not NOT_OURS.search(path.as_posix())]
    for path in paths:
        text = tree.read(args.root, path)
        if text is None:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, why in EVERYWHERE:
                found = pattern.search(line)
                if found:
                    report.error(path, number, f"{found[0].strip()!r}: {why}")
            if is_test(path.as_posix()) and SLEEP.search(line) and not POLL.search(line):
                report.error(path, number, 'waits by sleeping; see "poll:" in tests/check/words.py')
    report.finish(len(paths))


if __name__ == "__main__":
    main()
