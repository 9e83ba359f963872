/* worker.h - `orrery-run worker`: one device, executing the stages that a coordinator gives it. */
#ifndef ORRERY_RUNNER_WORKER_H
#define ORRERY_RUNNER_WORKER_H

/* argv[0] is "orrery-run worker"; returns an enum cli_exit. */
int worker_main(int argc, char **argv);

#endif
