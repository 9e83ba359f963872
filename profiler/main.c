/* main.c - orrery-profile: measures what a device does with a transformer's kernels. */
#include "lib/base/cli.h"
#include "profiler/commands.h"

int main(int argc, char **argv)
{
    static const struct cli_command commands[] = {
        { "run", "time the kernels of a model here and write a cost table", profiler_run },
        { "predict", "print what a step of a model costs by a table", profiler_predict },
        { "verify", "measure a table again and say whether it still holds", profiler_verify },
        { "diff", "compare two tables row by row", profiler_diff },
        { "merge", "put tables of one device into one folder", profiler_merge },
        { "facts", "print what is known of this device", profiler_facts },
        { "counters", "print which hardware counters can be read here, or why not",
          profiler_counters },
        { "roofline", "measure what this device reaches at most", profiler_roofline },
        { "codec", "measure what values of few bits take to code and restore", profiler_codec },
#ifdef HAVE_ZMQ
        { "link", "measure the link to another board and write links.csv", profiler_link },
#else
        { "link", "(not in this build: it has no ZeroMQ)", profiler_link },
#endif
    };

    return cli_main(
        "orrery-profile",
        "Times transformer kernels on this device, in the order and with the cold memory\n"
        "of a real forward pass, and writes a cost table for orrery-sim.",
        commands, (int)(sizeof(commands) / sizeof(commands[0])),
        "Example:\n"
        "  orrery-profile run --model gpt2 --quick -o traces/costs/my-board\n"
        "  orrery-profile facts --json\n",
        argc, argv);
}
