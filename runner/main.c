/* main.c - orrery-run: executes a placement for real, as coordinator or as worker. */
#include "runner/coordinator.h"
#include "runner/worker.h"
#include <signal.h>
#include <string.h>

int main(int argc, char **argv)
{
    char name[] = "orrery-run", worker_name[] = "orrery-run worker";

    signal(SIGPIPE, SIG_IGN); /* a reader that has left is a write error, and no file appears */
    if (argc > 1 && strcmp(argv[1], "worker") == 0) {
        argv[1] = worker_name; /* what messages call the program */
        return worker_main(argc - 1, argv + 1);
    }
    if (argc > 0)
        argv[0] = name;
    return coordinator_main(argc, argv);
}
