/* cmd.h - the sub-commands of orrery-sim. They alone print and decide exit codes. */
#ifndef ORRERY_SIM_CMD_CMD_H
#define ORRERY_SIM_CMD_CMD_H

#include <signal.h>

/* argv[0] is "orrery-sim NAME"; each returns an enum cli_exit. */
int cmd_generate(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_workload(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_fit(int argc, char **argv);
/* *stop turns to 1 when the user wants the best so far at once. */
int cmd_place(int argc, char **argv, const volatile sig_atomic_t *stop);
int cmd_compare(int argc, char **argv, const volatile sig_atomic_t *stop);
int cmd_capacity(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_network(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_ops(int argc, char **argv);

#endif
