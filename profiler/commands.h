/* commands.h - the sub-commands of orrery-profile, one file each. */
#ifndef ORRERY_PROFILER_COMMANDS_H
#define ORRERY_PROFILER_COMMANDS_H

int profiler_facts(int argc, char **argv);
int profiler_run(int argc, char **argv);
int profiler_verify(int argc, char **argv);
int profiler_predict(int argc, char **argv);
int profiler_diff(int argc, char **argv);
int profiler_merge(int argc, char **argv);
int profiler_counters(int argc, char **argv);
int profiler_roofline(int argc, char **argv);
int profiler_codec(int argc, char **argv);
int profiler_link(int argc, char **argv); /* without ZeroMQ it says so and fails */

#endif
