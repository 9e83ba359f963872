/* main.c - orrery-run: executes a placement for real, as coordinator or as worker, and the small
 * commands around that. */
#include "lib/base/cli.h"
#include "runner/control/control.h"
#include "runner/coordinator/coordinator.h"
#include "runner/worker/worker.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static const struct {
        const char *word;
        int (*run)(int argc, char **argv);
    } commands[] = { { "worker", worker_main },
                     { "keys", control_keys },
                     { "status", control_status },
                     { "update", control_update } };
    char name[64] = "orrery-run"; /* what messages call the program */

    cli_take_write_errors();
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].word) != 0)
            continue;
        snprintf(name, sizeof name, "orrery-run %s", commands[i].word);
        argv[1] = name;
        return commands[i].run(argc - 1, argv + 1);
    }
    if (argc > 0)
        argv[0] = name;
    return coordinator_main(argc, argv);
}
