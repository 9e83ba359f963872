/* cluster.h - devices and links: reader of a cluster folder (devices.csv, links.csv).
 *
 * Format: placements/README.md. The node `source` is where requests come from and results go to
 * (the runner's coordinator): it exists when a row of links.csv attaches `source` or `*`. */
#ifndef ORRERY_FORMAT_CLUSTER_H
#define ORRERY_FORMAT_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster_index;
struct err;
struct out;

struct cluster_device {
    const char *name, *type, *node;
    int64_t memory_bytes, reserved_bytes; /* 0 = not given */
    int32_t threads;                      /* 0 = not given */
    double speed_ratio;                   /* divides every time; 1 when not given */
    const char *address;                  /* host:port of the worker, "" when not given */
    double idle_w, busy_w, flop_per_s;    /* -1 = not given */
    /* a value that is sent in fewer bits: to code it, to restore it; -1 = not given */
    int64_t encode_value_ps, decode_value_ps;
    long line;
};

enum cluster_kind {
    CLUSTER_SWITCH,
    CLUSTER_WIFI,
    CLUSTER_HUB,
    CLUSTER_BUS,
    CLUSTER_RING,
    CLUSTER_MESH,
    CLUSTER_OPTICAL,
    CLUSTER_KIND_COUNT
};

struct cluster_attachment { /* one row of links.csv */
    const char *node;       /* "*" = every node */
    double bits_per_s;
    int64_t latency_ps, per_message_ps;
    double efficiency_ratio; /* 1 when not given */
    long line;
};
struct cluster_medium {
    const char *name;
    enum cluster_kind kind;
    int attachment_count;
    struct cluster_attachment *attachments;   /* file order */
    int32_t mesh_columns, ports, wavelengths; /* 0 = not given */
    int64_t setup_ps;
};

struct cluster {
    const char *path; /* folder; "" for an implied cluster */
    int device_count, medium_count;
    struct cluster_device *devices;
    struct cluster_medium *media;
    bool has_links; /* links.csv is there */
    bool has_source;
    int type_column;                   /* of devices.csv, 1-based, for errors; 0: no file */
    const struct cluster_index *index; /* of names and nodes: see cluster_index */
};

#define CLUSTER_SOURCE "source"

const char *cluster_kind_name(enum cluster_kind kind); /* as in links.csv */

struct cluster *cluster_load(struct arena *arena, const char *folder, struct err *err);
/* The devices named (count of them, duplicates allowed), all of one type, no links. */
struct cluster *cluster_implied(struct arena *arena, const char *const *names, int count,
                                const char *type);
/* Makes a cluster that was filled by hand ready for the two calls below; again after a change. The
 * calls above have done it. */
void cluster_index(struct arena *arena, struct cluster *cluster);
int cluster_find_device(const struct cluster *cluster, const char *name); /* -1 = none */
/* First medium, in file order, that attaches both nodes; with each side's attachment. NULL = none.
 */
const struct cluster_medium *cluster_common_medium(const struct cluster *cluster,
                                                   const char *from_node, const char *to_node,
                                                   const struct cluster_attachment **from,
                                                   const struct cluster_attachment **to);
void cluster_write_devices(struct out *out, const struct cluster_device *devices, int count);
void cluster_write_links(struct out *out, const struct cluster_medium *media, int count,
                         const char *const *meta);

#endif
