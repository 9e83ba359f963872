/* command.h - output of a small program of the board (vcgencmd), without a shell. */
#ifndef ORRERY_PROFILER_COMMAND_H
#define ORRERY_PROFILER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#define COMMAND_VCGENCMD "/usr/bin/vcgencmd"

/* Runs argv[0] (a path; argv ends in NULL) and keeps the first room - 1 bytes of its stdout and
 * stderr, NUL-terminated. False when it cannot be started, fails, or takes longer than timeout_ms
 * (then it is killed); text then holds what there was of its output. */
bool command_output(const char *const *argv, int timeout_ms, char *text, size_t room);

#endif
