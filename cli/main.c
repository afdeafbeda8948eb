/*
 * coffer: the command line of a coffer server. See cli/README.md.
 */
#include <signal.h>

#include "cli/cli.h"
#include "cli/command_help.h"

int main(int argc, char **argv)
{
    struct cli cli = {.json = false};
    int code;

    (void)signal(SIGPIPE, SIG_IGN); /* `coffer ls | head`: a failed write says enough */
    if (!command_line_parse(argc, argv, &cli.line)) {
        code = cli_say(CLI_WRONG, "%s", cli.line.why);
    } else if (help_wanted(&cli.line)) {
        code = cli_flush(CLI_DONE);
    } else {
        cli.json = option_given(&cli.line, "json");
        code = cli_flush(cli.line.command->run(&cli));
    }
    cli_release(&cli);
    return code;
}
