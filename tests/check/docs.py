#!/usr/bin/env python3
"""Links of *.md lead somewhere, and tables made from .def files are what those files say.

Whole pages are made from cli/commands.def. A table stands in any .md between <!-- table:NAME --> and <!-- end table -->. --write makes them
anew (./dev docs), and makes the page of a table that has no place yet.
"""

import re
import urllib.parse

import cli_pages
import tree

# --- rows of .def files ----------------------------------------------------------------------

TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([(),])|([^"(),]+)')


def rows(text, macro):
    """The arguments of each MACRO(...) of a .def file, strings without their quotes."""
    text = re.sub(r'("(?:[^"\\\n]|\\.)*")|/\*.*?\*/|//[^\n]*', lambda match: match[1] or "", text,
                  flags=re.S)
    found = []
    for start in re.finditer(rf"^{macro}\(", text, flags=re.M):
        cells, cell, depth = [], "", 1
        for token in TOKEN.finditer(text, start.end()):
            string, mark, bare = token.groups()
            if mark == ")" and depth == 1:
                break
            if mark == "," and depth == 1:
                cells.append(cell)
                cell = ""
                continue
            depth += (mark == "(") - (mark == ")")
            # Neighbouring strings are one, as in C; blanks around bare words are layout.
            cell += string if string is not None else (mark or bare.strip())
        found.append([*cells, cell])
    return found


def columns(text, macro):
    """The argument names, from the line MACRO(one, two, ...) of the comment on top."""
    comment = re.search(r"/\*.*?\*/", text, flags=re.S)
    named = re.search(rf"{macro}\(([^()]*)\)", comment[0]) if comment else None
    if named is None:
        return []
    return [name.strip(' "\n*') for name in named[1].split(",")]


def cell(text):
    return text.replace("|", "\\|") or " "


def code(text):
    return f"`{cell(text)}`" if text.strip() else " "


def markdown(head, lines):
    out = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    out += ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(out) + "\n"


# --- the tables ------------------------------------------------------------------------------

def options_table(named):
    lines = []
    for row in named:
        flag = "--" + row["name"].replace("_", "-")
        variable = "COFFER_" + row["name"].upper()
        low, high = row.get("min or choices", ""), row.get("max", "")
        bounds = f"{code(low)} to {code(high)}" if low and high else code(low or high)
        lines.append([code(flag), code(variable), code(row["name"]), code(row["default"]), bounds,
                      cell(row["help"])])
    return markdown(["flag", "variable", "config key", "default", "values", "meaning"], lines)


def errors_table(named):
    return markdown(["code", "status", "again?", "meaning"], [
        [code(row["code"]), row["http"], row["retry"].lower(), cell(row["title"])]
        for row in named])


def plain_table(named):
    head = list(named[0]) if named else []
    return markdown(head, [[cell(row[name]) for name in head] for row in named])


# name: (source, macro, renderer, page that must have it or None, title of that page)
TABLES = {
    "options": ("server/options.def", "OPTION", options_table, "docs/options.md", "Options"),
    "errors": ("storage/base/status.def", "STATUS", errors_table, "docs/errors.md", "Errors"),
    "metrics": ("server/metrics.def", "METRIC", plain_table, "docs/metrics.md", "Metrics"),
    "routes": ("api/routes.def", "ROUTE", plain_table, None, None),
    "locks": ("storage/base/lock.def", "LOCK", plain_table, None, None),
    "faults": ("storage/base/fault.def", "FAULT", plain_table, None, None),
    "headers": ("api/exchange_headers.def", "HEADER", plain_table, None, None),
}
MARKED = re.compile(r"(<!-- table:(\w+) -->\n)(.*?)(<!-- end table -->)", re.S)


def render(root, name):
    """The text of one table; an error text instead where its .def cannot be read."""
    source, macro, renderer, _, _ = TABLES[name]
    if not (root / source).is_file():
        return None, f"{source} is not there"
    text = (root / source).read_text(encoding="utf-8")
    names, table = columns(text, macro), rows(text, macro)
    if not names or not table or any(len(row) != len(names) for row in table):
        return None, f"{source}: rows and the line {macro}(...) of its comment do not agree"
    try:
        return renderer([dict(zip(names, row)) for row in table]), None
    except KeyError as missing:
        return None, f"{source}: no column {missing} in the line {macro}(...) of its comment"


def check_tables(report, root, pages, write):
    placed = set()
    for path in pages:
        text = tree.read(root, path) or ""
        fresh = text
        for match in MARKED.finditer(text):
            placed.add(match[2])
            table, why = render(root, match[2]) if match[2] in TABLES else (None, "no such table")
            if table is None:
                report.error(path, text[:match.start()].count("\n") + 1, why)
                continue
            fresh = fresh.replace(match[0], f"{match[1]}\n{table}\n{match[4]}")
        if fresh != text and write:
            (root / path).write_text(fresh, encoding="utf-8")
            print(f"{path}: written")
        elif fresh != text:
            report.error(path, 1, "a table is not what its .def says: ./dev docs")
    for name, (source, _, _, page, title) in TABLES.items():
        if page is None or name in placed or not (root / source).is_file():
            continue
        table, why = render(root, name)
        if table is None:
            report.error(source, 1, why)
        elif write and not (root / page).exists():
            (root / page).parent.mkdir(exist_ok=True)
            (root / page).write_text(
                f"# {title}\n\nMade from [{source}](../{source}).\n\n"
                f"<!-- table:{name} -->\n\n{table}\n<!-- end table -->\n", encoding="utf-8")
            print(f"{page}: written")
        else:
            report.error(source, 1, f"its table is in no page: {page} wants <!-- table:{name} -->")


# --- pages of the command line ---------------------------------------------------------------

COMMANDS = "cli/commands.def"


def named_rows(text, macro):
    """None: the rows and the line MACRO(...) of the comment do not agree."""
    names, found = columns(text, macro), rows(text, macro)
    if not names or not found or any(len(row) != len(names) for row in found):
        return None
    return [dict(zip(names, row)) for row in found]


def check_cli_pages(report, root, write):
    if not (root / COMMANDS).is_file():
        return
    text = (root / COMMANDS).read_text(encoding="utf-8")
    command_rows, options = named_rows(text, "COMMAND"), named_rows(text, "OPTION")
    if command_rows is None or options is None:
        report.error(COMMANDS, 1, "rows and the lines COMMAND(...), OPTION(...) of its comment do not agree")
        return
    commands = [cli_pages.Command(row, options) for row in command_rows]
    everybody = [option for option in options if option["command"] == ""]
    version = re.search(r"^project\(coffer VERSION ([\d.]+)", (root / "CMakeLists.txt").read_text(), re.M)[1]
    pages = {"docs/cli.md": cli_pages.markdown_page(commands, everybody),
             "docs/coffer.1": cli_pages.man_page(commands, everybody, version)}
    for path, fresh in pages.items():
        page = root / path
        if page.is_file() and page.read_text(encoding="utf-8") == fresh:
            continue
        if write:
            page.parent.mkdir(exist_ok=True)
            page.write_text(fresh, encoding="utf-8")
            print(f"{path}: written")
        else:
            report.error(path, 1, f"is not what {COMMANDS} says: ./dev docs")


# --- links -----------------------------------------------------------------------------------

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.S | re.M)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s+(\S+)", re.M)


def blank(match):
    """Nothing but the line ends, so that line numbers stay."""
    return "\n" * match[0].count("\n")


def anchors(text):
    """The names that GitHub gives to headings."""
    names = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", FENCE.sub(blank, text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        names.update({name} if name not in names else {f"{name}-{i}" for i in range(1, 9)})
    return names


def check_links(report, root, path):
    text = FENCE.sub(blank, tree.read(root, path) or "")
    text = re.sub(r"`[^`\n]*`", "", text)
    for match in LINK.finditer(text):
        target = match[1] or match[2]
        line = text[:match.start()].count("\n") + 1
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        name = urllib.parse.unquote(name)
        base = root if name.startswith("/") else (root / path).parent
        goal = base / name.lstrip("/") if name else root / path
        if not goal.exists():
            report.error(path, line, f"{target}: no such file")
        elif anchor and goal.suffix == ".md" and \
                anchor not in anchors(goal.read_text(encoding="utf-8")):
            report.error(path, line, f"{target}: no such heading")


def main():
    args = tree.arguments(__doc__, ("--write", "write the tables instead of comparing them"))
    report = tree.Report("docs")
    check_tables(report, args.root, tree.files(args.root, ".md"), args.write)
    check_cli_pages(report, args.root, args.write)
    pages = tree.files(args.root, ".md")
    for path in pages:
        check_links(report, args.root, path)
    report.finish(len(pages))


if __name__ == "__main__":
    main()
