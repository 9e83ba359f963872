/* facts_screen.h - facts as a person reads them: one screen, or the whole list. */
#ifndef ORRERY_PROFILER_FACTS_SCREEN_H
#define ORRERY_PROFILER_FACTS_SCREEN_H

struct facts;
struct out;
struct preflight_item;

/* What the device is, in at most 80 columns and about 24 lines, then what would disturb a
 * measurement and what to do about it. Needs facts_collect_energy to name the sensor. */
void facts_print_screen(struct out *out, const struct facts *facts,
                        const struct preflight_item *items, int count);
/* Every fact with its source or the reason why it is not known. */
void facts_print_all(struct out *out, const struct facts *facts);

#endif
