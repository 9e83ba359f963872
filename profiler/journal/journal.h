/* journal.h - nothing that was measured is lost: every message of a run, kept as it comes.
 *
 * DIR/profile.journal is a CSV (journal_line.h): first the identity of the run (identity.h), then a
 * line for each message. The parent of the measuring processes appends to it and the kernel has the
 * lines after each visit, so that a kill at any moment costs at most what was being measured. A
 * later run reads it again and goes on. While it is open it is locked: two runs into one folder at
 * once are an error. */
#ifndef ORRERY_PROFILER_JOURNAL_H
#define ORRERY_PROFILER_JOURNAL_H

#include "profiler/measure/grid.h"
#include "profiler/measure/message.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct identity;
struct journal;

#define JOURNAL_NAME "profile.journal"

/* How the messages of a run name their points. A variant is a combination of thread count, slice
 * and type of weights; SAMPLE and COUNT index its points, ANCHOR its anchors. */
struct journal_places {
    int variant_count;
    /* False when the index is out of range. */
    bool (*point_of)(void *arg, int variant, enum message_kind kind, int index,
                     struct point *point);
    /* -1 when this run has no such point; a run that finds points as it goes may add it. */
    int (*index_of)(void *arg, int variant, enum message_kind kind, const struct point *point);
    void *arg;
};

/* A recorded message, with the index that it has in this run. False stops the reading. */
typedef bool journal_apply_fn(void *arg, int variant, int proc, const struct message *message,
                              struct err *err);

/* A new journal in the folder, which exists. An unfinished one that is there is an error. */
struct journal *journal_begin(struct arena *arena, const char *folder,
                              const struct identity *identity, const struct journal_places *places,
                              struct err *err);

/* Goes on with the journal in the folder; begins one when there is none or none of it was written.
 * An identity that differs, and a line that is spoilt, are errors and leave the file as it is. All
 * whole lines go through apply in their order; what is left of a last line is dropped. */
struct journal *journal_resume(struct arena *arena, const char *folder,
                               const struct identity *identity, const struct journal_places *places,
                               journal_apply_fn *apply, void *arg, struct err *err);

/* Appends. A full disk is an error that names the file; what is in it stays usable. */
bool journal_put(struct journal *journal, int variant, int proc, const struct message *message,
                 struct err *err);
/* The process has come to its end by itself; also brings the file to the disk. */
bool journal_end_process(struct journal *journal, int variant, int proc, struct err *err);
/* Hands to the kernel what was put. */
bool journal_flush(struct journal *journal, struct err *err);

/* In a forked child: lets go of the lock, which is the parent's. */
void journal_leave(const struct journal *journal);
/* Flushes as far as possible and keeps the file. NULL is allowed, here and below. */
void journal_close(struct journal *journal);
/* The table is written: takes the file away. */
void journal_remove(struct journal *journal);

const char *journal_path(const struct journal *journal);
/* Samples and anchors recorded, those of earlier runs included. */
int64_t journal_sample_count(const struct journal *journal);
/* How often the run was taken up again. */
int journal_resume_count(const struct journal *journal);
/* Timing processes of a variant that came to their end, and the number that the next one gets. */
int journal_complete_count(const struct journal *journal, int variant);
int journal_next_proc(const struct journal *journal, int variant);

/* The lines of samples and anchors as a file of their own: all or nothing. */
bool journal_write_samples(struct journal *journal, const char *path, struct err *err);

#endif
