/* stream.h - open arrivals one at a time: the requests of generate_open, byte for byte, at a memory
 * that does not grow with their number. */
#ifndef ORRERY_SIM_GENERATE_STREAM_H
#define ORRERY_SIM_GENERATE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct generate_options;
struct stream;
struct workload_request;

/* Fails when the options are wrong, describe clients or conversations, or nothing ever arrives.
 * options must outlive the stream. */
struct stream *stream_open(struct arena *arena, const struct generate_options *options,
                           struct err *err);
/* The next request; ids are 0, 1, ... False at the end: past the duration or the horizon, or after
 * max_requests. client and session are numbers in options->replay, if any. */
bool stream_next(struct stream *stream, struct workload_request *request);
/* Whether requests differ in arrival and service alone: no lengths are drawn, nothing is replayed.
 */
bool stream_is_plain(const struct stream *stream);
/* Of a plain stream: the next requests, `room` at most; how many there are. The same as so many
 * calls of stream_next. */
size_t stream_fill(struct stream *stream, int64_t *arrivals_ps, int32_t *services, size_t room);
/* Names that the requests' service numbers stand for: the options', else the replayed file's. */
int stream_service_count(const struct stream *stream);
const char *stream_service(const struct stream *stream, int service);
/* Mean rate of all services; of a replay, the rate at which its rows come. */
double stream_rate_per_s(const struct stream *stream);

#endif
