#!/usr/bin/env python3
"""Goal: every checker says no to what it is there to refuse. Method: a small tree that is right
passes; the same tree with one wrong file added must fail, and for the reason that is meant."""

import json
import pathlib
import subprocess
import sys
import tempfile

CHECKS = pathlib.Path(__file__).resolve().parent

HEADER = "#pragma once\n\nint part_count(void);\n"
SOURCE = '#include "storage/base/part.h"\n\nint part_count(void)\n{\n    return 1;\n}\n'
OPTIONS = """/* OPTION(type, name, default, min or choices, max, when, help) */
OPTION(SIZE, pack_size, "1GiB", "16MiB", "64GiB", LIVE, "seal a pack " "here")
"""
OPTION_ROW = "| `--pack-size` | `COFFER_PACK_SIZE` | `pack_size` | `1GiB` | `16MiB` to `64GiB` |"
PAGE = ("# Options\n\n<!-- table:options -->\n\n"
        "| flag | variable | config key | default | values | meaning |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        f"{OPTION_ROW} seal a pack here |\n\n<!-- end table -->\n")
COMMANDS = """/* COMMAND(name, function, arguments, least, most, summary, details, example)
 * OPTION(command, name, letter, kind, value, help) */
OPTION("", "help", 'h', FLAG, "", "help")
COMMAND("ls", ls, "", 0, 0, "list", "", "coffer ls")
"""
PROJECT = "project(coffer VERSION 0.1.0 LANGUAGES C)\n"
GOOD = {
    "storage/base/part.h": HEADER,
    "storage/base/part.c": SOURCE,
    "storage/store.h": '#pragma once\n\n#include "storage/base/part.h"\n',
    "server/http_mhd.c": '#include <microhttpd.h>\n#include <stdio.h>\n\n#include "storage/store.h"\n',
    "server/options.def": OPTIONS,
    "docs/options.md": PAGE,
    "README.md": "# A heading here\n\n[options](docs/options.md#options), [up](#a-heading-here)\n",
    "tests/a.test.sh": "#!/usr/bin/env bash\nuntil ready; do\n    sle" "ep 0.1 # poll: the socket\ndone\n",
}


def function(lines):
    return "int f(void)\n{\n" + "    g();\n" * lines + "}\n"


# (checker, files added or replaced, what its output must have)
WRONG = [
    ("format.sh", {"api/a.c": "int  x ;\n"}, "api/a.c:1: not as .clang-format says"),
    ("format.sh", {"api/a.h": "#pragma once\nint *a(void);\nint* b(void);\n"},
     "api/a.h:3: not as .clang-format says"),
    ("layers.py", {"storage/base/b.c": '#include "storage/store.h"\n'}, "includes go downwards"),
    ("layers.py", {"api/b.c": '#include "server/http.h"\n', "server/http.h": HEADER},
     "includes go downwards"),
    ("layers.py", {"api/b.c": '#include "storage/pack/p.h"\n', "storage/pack/p.h": HEADER},
     "includes go downwards"),
    ("layers.py", {"api/b.c": "#include <microhttpd.h>\n"}, "belongs to server/http_mhd"),
    ("layers.py", {"storage/base/b.c": "#include <jansson.h>\n"}, "belongs to api/"),
    ("layers.py", {"storage/pack/p.c": "#include <rocksdb/c.h>\n"}, "belongs to storage/index"),
    ("layers.py", {"api/b.c": "#include <event2/event.h>\n"}, "has no owner"),
    ("layers.py", {"api/b.c": '#include "part.h"\n'}, "not a path from the root"),
    ("layers.py", {"odd/b.c": '#include "storage/store.h"\n'}, "has no layer"),
    ("layers.py", {"storage/base/part.c": '#include <stdio.h>\n\n#include "storage/base/part.h"\n'},
     "comes first"),
    ("layers.py", {"storage/base/part.c": "#include <stdio.h>\n"}, "does not include its own"),
    ("layers.py", {"api/part.c": "int x;\n"}, "has this name already"),
    ("layers.py", {"api/b.h": "int x;\n"}, "#pragma once"),
    ("sizes.py", {"api/b.c": "int x;\n" * 601}, "file of 601 lines"),
    ("sizes.py", {"api/b.c": function(81)}, "function of 81 lines"),
    ("words.py", {"api/b.c": "/* TO" "DO: later */\n"}, "work left to do"),
    ("words.py", {"docs/a.md": "see /ho" "me/me/x\n"}, "a folder of one machine"),
    ("words.py", {"tests/b.c": "void f(void)\n{\n    usle" "ep(10);\n}\n"}, "waits by"),
    ("words.py", {"api/b_test.c": "void f(void)\n{\n    nanosle" "ep(a, b);\n}\n"}, "waits by"),
    ("words.py", {"tests/b.sh": "start &\nsle" "ep 1\n"}, "waits by"),
    ("docs.py", {"docs/a.md": "[gone](missing.md)\n"}, "no such file"),
    ("docs.py", {"docs/a.md": "[gone](../README.md#not-there)\n"}, "no such heading"),
    ("docs.py", {"docs/options.md": PAGE.replace("1GiB", "2GiB")}, "not what its .def says"),
    ("docs.py", {"docs/options.md": "# Options\n"}, "its table is in no page"),
    ("docs.py", {"server/options.def": OPTIONS.replace(' LIVE,', "")}, "do not agree"),
    ("docs.py", {"cli/commands.def": COMMANDS, "CMakeLists.txt": PROJECT}, "is not what cli/commands.def says"),
    ("shell.sh", {"tests/b.sh": "#!/bin/sh\ncd $1\n"}, "SC2086"),
    ("tidy.py", {"api/b.c": "int f(int);\nint f(int x)\n{\n    if (x);\n        return 1;\n}\n"},
     "bugprone-suspicious-semicolon"),
    ("tidy.py", {"api/b.c": "void g(void);\nvoid f(void);\nvoid f(void)\n{\n"
                 + "    g();\n" * 71 + "}\n"}, "readability-function-size"),
]


def lay(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def run(checker, files):
    """Exit code and output of a checker over the tree of these files."""
    with tempfile.TemporaryDirectory(prefix="coffer-check-") as folder:
        root = pathlib.Path(folder).resolve()
        lay(root, files)
        command = [str(CHECKS / checker), "--root", str(root)]
        if checker == "tidy.py":
            sources = [name for name in files if name.endswith(".c") and "mhd" not in name]
            entries = [{"directory": folder, "file": str(root / name),
                        "command": f"clang -I{root} -c {root / name}"} for name in sources]
            lay(root, {"out/compile_commands.json": json.dumps(entries)})
            command += ["--build", str(root / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


def main():
    failures = []
    for checker in sorted({checker for checker, _, _ in WRONG}):
        status, output = run(checker, GOOD)
        if status != 0:
            failures.append(f"{checker} refuses what is right:\n{output}")
        if run(checker, {})[0] == 0:
            failures.append(f"{checker} is content with an empty tree")
    for checker, files, reason in WRONG:
        status, output = run(checker, {**GOOD, **files})
        if status != 1 or reason not in output:
            failures.append(f"{checker} lets pass: {files}\n"
                            f"expected {reason!r}, status {status}:\n{output}")
    print("\n".join(failures), end="\n" if failures else "")
    print(f"check self_test: {len(WRONG)} wrong samples, {len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
