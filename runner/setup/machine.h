/* machine.h - what the runner must know of the machine it is on: free memory, and its name. */
#ifndef ORRERY_RUNNER_MACHINE_H
#define ORRERY_RUNNER_MACHINE_H

#include <sched.h>
#include <stdint.h>

struct arena;
struct err;

/* MemAvailable of /proc/meminfo; INT64_MAX when the kernel does not say. */
int64_t machine_available_bytes(void);
/* One line for the head of an output file: architecture and processor or board. */
const char *machine_note(struct arena *arena);

/* The calling thread stays on the processor of that number, of those that it may use (*all, of
 * which none: not known), taken in turns. The system may not allow it: nothing is changed then. */
void machine_stay_on_processor(int32_t number, cpu_set_t *all);
/* A thread that such a one has begun, and that would stay there too, may use all of them. */
void machine_leave_processor(const cpu_set_t *all);

/* A file, or "-" for stdin, as text without NULs, of at most max_bytes. NULL with an error. */
const char *machine_read_text(struct arena *arena, const char *path, int64_t max_bytes,
                              struct err *err);

#endif
