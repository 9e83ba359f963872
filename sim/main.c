/* main.c - orrery-sim: the table of its sub-commands, one file each in sim/cmd/. */
#include "lib/base/cli.h"
#include "sim/cmd/cmd.h"
#include <signal.h>
#include <stddef.h>

/* The only variable of the program that changes: nothing else reaches a signal handler. */
static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int number)
{
    (void)number;
    is_interrupted = 1;
}

/* The first Ctrl-C asks for the best so far, a second one ends the program; who has it ignored (a
 * job in the background) goes on. */
static const volatile sig_atomic_t *take_interrupts(void)
{
    struct sigaction action = { .sa_handler = on_interrupt,
                                .sa_flags = (int)(SA_RESETHAND | SA_RESTART) };
    struct sigaction before;

    (void)sigemptyset(&action.sa_mask);
    if (sigaction(SIGINT, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        (void)sigaction(SIGINT, &action, NULL);
    return &is_interrupted;
}

static int run_place(int argc, char **argv)
{
    return cmd_place(argc, argv, take_interrupts());
}

static int run_compare(int argc, char **argv)
{
    return cmd_compare(argc, argv, take_interrupts());
}

int main(int argc, char **argv)
{
    static const struct cli_command commands[] = {
        { "generate", "write a workload: random arrivals, or closed-loop clients", cmd_generate },
        { "import", "turn other programs' files and public traces into tables", cmd_import },
        { "workload", "describe, merge, split, cut or scale workloads", cmd_workload },
        { "run", "simulate a workload on a placement, from measured costs", cmd_run },
        { "fit", "does a placement fit into the memory of its devices", cmd_fit },
        { "place", "choose which device gets which part of a service", run_place },
        { "compare", "what all planners make of one problem, side by side", run_compare },
        { "capacity", "the highest rate within an objective; the fewest boards for a rate",
          cmd_capacity },
        { "check", "compare predicted with measured requests", cmd_check },
        { "network", "when flows on a network end: max-min fair sharing", cmd_network },
        { "trace", "turn stage traces into a Chrome trace for Perfetto", cmd_trace },
        { "ops", "spread a traced iteration over several devices", cmd_ops },
    };

    return cli_main("orrery-sim",
                    "Predicts how a transformer served by edge devices behaves, from costs that\n"
                    "were measured on each kind of device.",
                    commands, (int)(sizeof(commands) / sizeof(commands[0])),
                    "Example, from workload to error:\n"
                    "  orrery-sim generate --process poisson --rate 2/s --duration 60s \\\n"
                    "      --service chat --prompt uniform:8:64 --output uniform:4:16 -o w.csv\n"
                    "  orrery-sim run --placement p.csv --workload w.csv --costs costs \\\n"
                    "      --requests-out predicted.csv\n"
                    "  orrery-sim check --predicted predicted.csv --real measured.csv\n",
                    argc, argv);
}
