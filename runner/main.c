/* main.c - orrery-run: executes a placement for real, as coordinator or as worker. */
#include "lib/base/cli.h"
#include "runner/coordinator/coordinator.h"
#include "runner/worker/worker.h"
#include <string.h>

int main(int argc, char **argv)
{
    char name[] = "orrery-run", worker_name[] = "orrery-run worker";

    cli_take_write_errors();
    if (argc > 1 && strcmp(argv[1], "worker") == 0) {
        argv[1] = worker_name; /* what messages call the program */
        return worker_main(argc - 1, argv + 1);
    }
    if (argc > 0)
        argv[0] = name;
    return coordinator_main(argc, argv);
}
