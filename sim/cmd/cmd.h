/* cmd.h - the sub-commands of orrery-sim. They alone print and decide exit codes. */
#ifndef ORRERY_SIM_CMD_CMD_H
#define ORRERY_SIM_CMD_CMD_H

/* argv[0] is "orrery-sim NAME"; each returns an enum cli_exit. */
int cmd_generate(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_workload(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_fit(int argc, char **argv);
int cmd_place(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_capacity(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_network(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_ops(int argc, char **argv);

#endif
