/* rows.c - see rows.h. */
#include "sim/workload/rows.h"

#include "lib/base/arena.h"

struct rows rows_begin(struct arena *arena, const struct workload *from,
                       struct workload_builder *to)
{
    struct rows rows = { .from = from, .to = to, .suffix = "", .arena = arena };

    rows.services = arena_array(arena, (size_t)from->service_count, sizeof(*rows.services));
    rows.clients = arena_array(arena, (size_t)from->client_count, sizeof(*rows.clients));
    rows.sessions = arena_array(arena, (size_t)from->session_count, sizeof(*rows.sessions));
    return rows;
}

static const char *suffixed(const struct rows *rows, const char *name)
{
    return rows->suffix[0] ? arena_printf(rows->arena, "%s%s", name, rows->suffix) : name;
}

struct workload_request rows_get(struct rows *rows, size_t index)
{
    const struct workload *from = rows->from;
    struct workload_request request = workload_at(from, index);
    int32_t *service = &rows->services[request.service];

    if (*service == 0)
        *service = workload_builder_service(rows->to, from->services[request.service]) + 1;
    request.service = *service - 1;
    if (request.client >= 0) {
        int32_t *client = &rows->clients[request.client];

        if (*client == 0)
            *client =
                workload_builder_client(rows->to, suffixed(rows, from->clients[request.client])) +
                1;
        request.client = *client - 1;
    }
    if (request.session >= 0) {
        int32_t *session = &rows->sessions[request.session];

        if (*session == 0)
            *session = workload_builder_session(rows->to,
                                                suffixed(rows, from->sessions[request.session])) +
                       1;
        request.session = *session - 1;
    }
    return request;
}

struct follow follow_begin(struct arena *arena, const struct workload *workload)
{
    struct follow follow = { .workload = workload };

    follow.client_parts =
        arena_array(arena, (size_t)workload->client_count, sizeof(*follow.client_parts));
    follow.session_parts =
        arena_array(arena, (size_t)workload->session_count, sizeof(*follow.session_parts));
    for (int i = 0; i < workload->client_count; i++)
        follow.client_parts[i] = -1;
    for (int i = 0; i < workload->session_count; i++)
        follow.session_parts[i] = -1;
    return follow;
}

void follow_set(struct follow *follow, size_t index, int part)
{
    struct workload_request request = workload_at(follow->workload, index);

    if (request.client >= 0)
        follow->client_parts[request.client] = part;
    if (request.session >= 0)
        follow->session_parts[request.session] = part;
}

int follow_get(const struct follow *follow, size_t index)
{
    struct workload_request request = workload_at(follow->workload, index);
    int client = request.client >= 0 ? follow->client_parts[request.client] : -1;
    int session = request.session >= 0 ? follow->session_parts[request.session] : -1;

    return client > session ? client : session;
}
