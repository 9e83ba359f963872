/* worker.h - `orrery-run worker`: one device, executing the stages that a coordinator gives it. */
#ifndef ORRERY_RUNNER_WORKER_H
#define ORRERY_RUNNER_WORKER_H

#include <stdint.h>

struct worker_options {
    const char *device, *connect;
    const char *listen; /* NULL = as the coordinator says */
    const char *keys;   /* folder, NULL = none */
    int64_t wait_ps;
    int64_t parent; /* process that started it, 0 = a person */
    int32_t
        processor; /* where it stays if it computes in one thread, taken in turns; below 0: none */
};

/* From joining to leaving. Returns an enum cli_exit. */
int worker_run(const struct worker_options *options);
/* argv[0] is "orrery-run worker"; returns an enum cli_exit. */
int worker_main(int argc, char **argv);

#endif
