/* facts_host.h - facts of memory, operating system, load, and whether the machine is real. */
#ifndef ORRERY_PROFILER_FACTS_HOST_H
#define ORRERY_PROFILER_FACTS_HOST_H

struct facts;

void facts_collect_host(struct facts *facts);

#endif
