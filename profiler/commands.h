/* commands.h - the sub-commands of orrery-profile, one file each. */
#ifndef ORRERY_PROFILER_COMMANDS_H
#define ORRERY_PROFILER_COMMANDS_H

int profiler_facts(int argc, char **argv);
int profiler_run(int argc, char **argv);
int profiler_counters(int argc, char **argv);
int profiler_link(int argc, char **argv); /* only in builds with ZeroMQ */

#endif
