"""The pages that are made from cli/commands.def: docs/cli.md and the man page docs/coffer.1."""

import re

EXIT_CODES = [
    ("0", "done"),
    ("1", "the answer is no: missing, damaged, refused because of what is there"),
    ("2", "wrong use"),
    ("3", "the server or a disk failed"),
]
VARIABLES = [
    ("COFFER_URL", "stands in for --url"),
    ("COFFER_KEY", "stands in for --key"),
    ("COFFER_KEYS_FILE", "stands in for --file of the commands for the keys file"),
]


def unescape(text):
    """A C string as the compiler reads it."""
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)


class Command:
    def __init__(self, row, options):
        self.name, self.arguments = row["name"], row["arguments"]
        self.summary, self.details = unescape(row["summary"]), unescape(row["details"])
        self.example = unescape(row["example"])
        self.options = [option for option in options if option["command"] == self.name]


def flag(option):
    """-o, --output FILE"""
    letter = option["letter"].strip("'")
    text = (f"-{letter}, " if letter != "0" else "") + f"--{option['name']}"
    return text + (f" {option['value']}" if option["kind"] != "FLAG" else "")


# --- markdown ----------------------------------------------------------------------------------

def pipe(text):
    return text.replace("|", "\\|")


def summary_table(commands):
    out = ["| command | does |", "| --- | --- |"]
    for command in commands:
        usage = f"{command.name} {command.arguments}".strip()
        out.append(f"| `coffer {pipe(usage)}` | {pipe(command.summary)} |")
    return "\n".join(out) + "\n"


def options_list(options):
    return "\n".join(f"- `{flag(option)}`: {unescape(option['help'])}" for option in options)


def markdown_page(commands, everybody):
    out = ["# The command line", "",
           "Made from [cli/commands.def](../cli/commands.def) by `./dev docs`; the man page has the same. How it is built:",
           "[cli/README.md](../cli/README.md).", "",
           "`coffer [OPTION...] COMMAND [ARGUMENT...]`. What a command found goes to standard output, bars and messages to",
           "standard error.", "",
           options_list(everybody), "",
           "| exit code | means |", "| --- | --- |",
           *(f"| {code} | {text} |" for code, text in EXIT_CODES), "",
           summary_table(commands)]
    for command in commands:
        out += [f"## {command.name}", "", f"`coffer {command.name} [OPTION...] {command.arguments}".rstrip() + "`", "",
                command.summary[0].upper() + command.summary[1:] + ". " + command.details, ""]
        if command.options:
            out += [options_list(command.options), ""]
        out += ["```sh", command.example, "```", ""]
    return "\n".join(line.rstrip() for line in "\n".join(out).split("\n")).rstrip() + "\n"


# --- man page ----------------------------------------------------------------------------------

def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def roff_options(options):
    out = []
    for option in options:
        out += [".TP", f".B {roff(flag(option))}", roff(unescape(option["help"]))]
    return out


def man_page(commands, everybody, version):
    out = ['.\\" Made from cli/commands.def by ./dev docs.', f'.TH COFFER 1 "" "coffer {version}" "User Commands"',
           ".SH NAME", "coffer \\- store and read chunks and datasets of a coffer server",
           ".SH SYNOPSIS", ".B coffer", "[OPTION...] COMMAND [ARGUMENT...]",
           ".SH DESCRIPTION",
           "What a command found goes to standard output, progress bars and messages to standard error; bars only on a",
           "terminal.", "Options may stand before and behind arguments; behind", ".B \\-\\-",
           "everything is an argument.", ".SH OPTIONS", *roff_options(everybody), ".SH COMMANDS"]
    for command in commands:
        out += [f".SS {roff(command.name)} {roff(command.arguments)}".rstrip(),
                roff(command.summary[0].upper() + command.summary[1:]) + "."]
        if command.details:
            out += [roff(command.details)]
        out += roff_options(command.options)
        out += [".PP", ".EX", *(f"  {roff(line)}" for line in command.example.split("\n")), ".EE"]
    out += [".SH EXIT STATUS"]
    for code, text in EXIT_CODES:
        out += [".TP", f".B {code}", roff(text)]
    out += [".SH ENVIRONMENT"]
    for name, text in VARIABLES:
        out += [".TP", f".B {name}", roff(text)]
    return "\n".join(out) + "\n"
