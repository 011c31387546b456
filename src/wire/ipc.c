#include "wire/ipc.h"

#include <string.h>

static int done(const struct rbuf *r)
{
        return rbuf_done(r) ? 0 : -1;
}

void ipc_put_header(struct wbuf *w, enum ipc_type type, uint32_t serial)
{
        wbuf_u16(w, (uint16_t)type);
        wbuf_u16(w, 0);
        wbuf_u32(w, serial);
}

int ipc_get_header(const void *data, size_t len, struct ipc_header *h, struct rbuf *payload)
{
        *payload = rbuf_over(data, len);
        h->type = rbuf_u16(payload);
        uint16_t zero = rbuf_u16(payload);
        h->serial = rbuf_u32(payload);
        return payload->bad || zero != 0 || len > IPC_MESSAGE_MAX ? -1 : 0;
}

void ipc_put_hello(struct wbuf *w, const struct ipc_hello *m)
{
        wbuf_u32(w, m->version);
        wbuf_u32(w, m->flags);
        wbuf_u32(w, m->prepared);
}

int ipc_get_hello(struct rbuf *r, struct ipc_hello *m)
{
        m->version = rbuf_u32(r);
        m->flags = rbuf_u32(r);
        m->prepared = rbuf_u32(r);
        return m->version == IPC_VERSION && m->flags <= IPC_PRIVATE && m->prepared <= IPC_PREPARED_MAX ? done(r) : -1;
}

void ipc_put_hello_ok(struct wbuf *w, const struct ipc_hello_ok *m)
{
        wbuf_u32(w, m->version);
        wbuf_u8(w, m->mode);
        wbuf_u8(w, m->cgroup_version);
        wbuf_u32(w, m->limits);
        wbuf_u8(w, m->disk);
}

int ipc_get_hello_ok(struct rbuf *r, struct ipc_hello_ok *m)
{
        m->version = rbuf_u32(r);
        m->mode = rbuf_u8(r);
        m->cgroup_version = rbuf_u8(r);
        m->limits = rbuf_u32(r);
        m->disk = rbuf_u8(r);
        return m->version == IPC_VERSION && m->mode <= IPC_MODE_USER && m->cgroup_version <= 2 ? done(r) : -1;
}

static void put_limits(struct wbuf *w, const uint64_t limits[IPC_LIMITS], uint32_t wanted)
{
        for (size_t i = 0; i < IPC_LIMITS; i++)
                wbuf_u64(w, limits[i]);
        wbuf_u32(w, wanted);
}

static void get_limits(struct rbuf *r, uint64_t limits[IPC_LIMITS], uint32_t *wanted)
{
        for (size_t i = 0; i < IPC_LIMITS; i++)
                limits[i] = rbuf_u64(r);
        *wanted = rbuf_u32(r);
}

void ipc_put_spawn(struct wbuf *w, const struct ipc_spawn *m)
{
        wbuf_str(w, m->id);
        wbuf_u8(w, m->root);
        wbuf_u32(w, m->layer_count);
        for (uint32_t i = 0; i < m->layer_count && i < IPC_LAYERS_MAX; i++)
                wbuf_str(w, m->layers[i]);
        wbuf_str(w, m->hostname);
        wbuf_u32(w, m->uid);
        wbuf_u32(w, m->gid);
        wbuf_str(w, m->home);
        put_limits(w, m->limits, m->limits_wanted);
        wbuf_u32(w, m->flags);
        wbuf_str(w, m->class);
}

int ipc_get_spawn(struct rbuf *r, struct ipc_spawn *m)
{
        rbuf_str(r, m->id, sizeof(m->id));
        m->root = rbuf_u8(r);
        m->layer_count = rbuf_u32(r);
        if (m->root > IPC_ROOT_DIR || m->layer_count > IPC_LAYERS_MAX)
                return -1;
        for (uint32_t i = 0; i < m->layer_count; i++)
                rbuf_str(r, m->layers[i], sizeof(m->layers[i]));
        rbuf_str(r, m->hostname, sizeof(m->hostname));
        m->uid = rbuf_u32(r);
        m->gid = rbuf_u32(r);
        rbuf_str(r, m->home, sizeof(m->home));
        get_limits(r, m->limits, &m->limits_wanted);
        m->flags = rbuf_u32(r);
        rbuf_str(r, m->class, sizeof(m->class));
        return m->flags > IPC_SPAWN_FLAGS ? -1 : done(r);
}

void ipc_put_spawned(struct wbuf *w, const struct ipc_spawned *m)
{
        wbuf_str(w, m->id);
        wbuf_u32(w, m->pid);
        wbuf_u32(w, m->limits_missing);
}

int ipc_get_spawned(struct rbuf *r, struct ipc_spawned *m)
{
        rbuf_str(r, m->id, sizeof(m->id));
        m->pid = rbuf_u32(r);
        m->limits_missing = rbuf_u32(r);
        return done(r);
}

void ipc_put_id(struct wbuf *w, const char *id)
{
        wbuf_str(w, id);
}

int ipc_get_id(struct rbuf *r, char id[IPC_ID_MAX + 1])
{
        rbuf_str(r, id, IPC_ID_MAX + 1);
        return done(r);
}

/* The figures of a usage, in the order of the page. */
static const size_t usage_fields[] = {
        offsetof(struct ipc_usage, memory),       offsetof(struct ipc_usage, memory_peak), offsetof(struct ipc_usage, cpu_us),
        offsetof(struct ipc_usage, pids),         offsetof(struct ipc_usage, oom_kills),   offsetof(struct ipc_usage, forks_refused),
        offsetof(struct ipc_usage, throttled_us),
};

void ipc_put_usage(struct wbuf *w, const struct ipc_usage *m)
{
        for (size_t i = 0; i < sizeof(usage_fields) / sizeof(usage_fields[0]); i++)
                wbuf_u64(w, *(const uint64_t *)((const char *)m + usage_fields[i]));
}

static void get_usage(struct rbuf *r, struct ipc_usage *m)
{
        for (size_t i = 0; i < sizeof(usage_fields) / sizeof(usage_fields[0]); i++)
                *(uint64_t *)((char *)m + usage_fields[i]) = rbuf_u64(r);
}

int ipc_get_usage(struct rbuf *r, struct ipc_usage *m)
{
        get_usage(r, m);
        return done(r);
}

void ipc_put_terminated(struct wbuf *w, const char *id, const struct ipc_usage *m)
{
        wbuf_str(w, id);
        ipc_put_usage(w, m);
}

int ipc_get_terminated(struct rbuf *r, char id[IPC_ID_MAX + 1], struct ipc_usage *m)
{
        rbuf_str(r, id, IPC_ID_MAX + 1);
        get_usage(r, m);
        return done(r);
}

void ipc_put_exited(struct wbuf *w, const struct ipc_exited *m)
{
        wbuf_str(w, m->id);
        wbuf_u32(w, (uint32_t)m->status);
        ipc_put_usage(w, &m->usage);
}

int ipc_get_exited(struct rbuf *r, struct ipc_exited *m)
{
        rbuf_str(r, m->id, sizeof(m->id));
        m->status = (int32_t)rbuf_u32(r);
        get_usage(r, &m->usage);
        return done(r);
}

void ipc_put_list(struct wbuf *w, uint32_t first)
{
        wbuf_u32(w, first);
}

int ipc_get_list(struct rbuf *r, uint32_t *first)
{
        *first = rbuf_u32(r);
        return done(r);
}

void ipc_put_listed(struct wbuf *w, const struct ipc_listed *m)
{
        wbuf_u32(w, m->total);
        wbuf_u32(w, m->count);
        for (uint32_t i = 0; i < m->count && i < IPC_LIST_MAX; i++) {
                wbuf_str(w, m->boxes[i].id);
                wbuf_u8(w, m->boxes[i].state);
                wbuf_u32(w, m->boxes[i].pid);
                wbuf_u32(w, (uint32_t)m->boxes[i].status);
                wbuf_u64(w, m->boxes[i].started_ms);
        }
}

int ipc_get_listed(struct rbuf *r, struct ipc_listed *m)
{
        m->total = rbuf_u32(r);
        m->count = rbuf_u32(r);
        if (m->count > IPC_LIST_MAX)
                return -1;
        for (uint32_t i = 0; i < m->count; i++) {
                rbuf_str(r, m->boxes[i].id, sizeof(m->boxes[i].id));
                m->boxes[i].state = rbuf_u8(r);
                m->boxes[i].pid = rbuf_u32(r);
                m->boxes[i].status = (int32_t)rbuf_u32(r);
                m->boxes[i].started_ms = rbuf_u64(r);
        }
        return done(r);
}

void ipc_put_freeze(struct wbuf *w, const struct ipc_freeze *m)
{
        wbuf_str(w, m->id);
        wbuf_u8(w, m->frozen);
}

int ipc_get_freeze(struct rbuf *r, struct ipc_freeze *m)
{
        rbuf_str(r, m->id, sizeof(m->id));
        m->frozen = rbuf_u8(r);
        return m->frozen > 1 ? -1 : done(r);
}

void ipc_put_limit(struct wbuf *w, const struct ipc_limit *m)
{
        wbuf_str(w, m->id);
        put_limits(w, m->limits, m->limits_wanted);
}

int ipc_get_limit(struct rbuf *r, struct ipc_limit *m)
{
        rbuf_str(r, m->id, sizeof(m->id));
        get_limits(r, m->limits, &m->limits_wanted);
        return done(r);
}

void ipc_put_limited(struct wbuf *w, uint32_t limits_missing)
{
        wbuf_u32(w, limits_missing);
}

int ipc_get_limited(struct rbuf *r, uint32_t *limits_missing)
{
        *limits_missing = rbuf_u32(r);
        return done(r);
}

void ipc_put_image(struct wbuf *w, const struct ipc_image *m)
{
        wbuf_u32(w, m->argc);
        for (uint32_t i = 0; i < m->argc && i < IPC_IMAGE_ARGS_MAX; i++)
                wbuf_str(w, m->args[i]);
}

int ipc_get_image(struct rbuf *r, struct ipc_image *m)
{
        m->argc = rbuf_u32(r);
        if (m->argc > IPC_IMAGE_ARGS_MAX)
                return -1;
        for (uint32_t i = 0; i < m->argc; i++)
                rbuf_str(r, m->args[i], sizeof(m->args[i]));
        return done(r);
}

void ipc_put_status(struct wbuf *w, int32_t status)
{
        wbuf_u32(w, (uint32_t)status);
}

int ipc_get_status(struct rbuf *r, int32_t *status)
{
        *status = (int32_t)rbuf_u32(r);
        return done(r);
}

/* The strings of a class, in the order of the page. */
static const struct {
        size_t at, cap;
} class_texts[] = {
#define TEXT(field)                                                                                                                        \
        {                                                                                                                                  \
                offsetof(struct ipc_class, field), sizeof(((struct ipc_class *)0)->field)                                                  \
        }
        TEXT(name), TEXT(driver), TEXT(engine), TEXT(binary), TEXT(version), TEXT(isolation), TEXT(reason), TEXT(hint),
#undef TEXT
};

void ipc_put_classes(struct wbuf *w, const struct ipc_classes *m)
{
        wbuf_u32(w, m->count);
        for (uint32_t i = 0; i < m->count && i < IPC_CLASSES_MAX; i++) {
                for (size_t k = 0; k < sizeof(class_texts) / sizeof(class_texts[0]); k++)
                        wbuf_str(w, (const char *)&m->of[i] + class_texts[k].at);
                wbuf_u8(w, m->of[i].available);
                wbuf_u32(w, m->of[i].limits);
                wbuf_u32(w, m->of[i].can);
        }
}

int ipc_get_classes(struct rbuf *r, struct ipc_classes *m)
{
        m->count = rbuf_u32(r);
        if (m->count > IPC_CLASSES_MAX)
                return -1;
        for (uint32_t i = 0; i < m->count; i++) {
                for (size_t k = 0; k < sizeof(class_texts) / sizeof(class_texts[0]); k++)
                        rbuf_str(r, (char *)&m->of[i] + class_texts[k].at, class_texts[k].cap);
                m->of[i].available = rbuf_u8(r);
                m->of[i].limits = rbuf_u32(r);
                m->of[i].can = rbuf_u32(r);
                if (m->of[i].available > 1)
                        return -1;
        }
        return done(r);
}

void ipc_put_error(struct wbuf *w, const struct err *e)
{
        wbuf_u32(w, (uint32_t)e->code);
        wbuf_u32(w, (uint32_t)e->sys);
        wbuf_str(w, e->msg);
        wbuf_str(w, e->hint);
}

int ipc_get_error(struct rbuf *r, struct err *e)
{
        uint32_t code = rbuf_u32(r);

        e->sys = (int)rbuf_u32(r);
        rbuf_str(r, e->msg, sizeof(e->msg));
        rbuf_str(r, e->hint, sizeof(e->hint));
        if (code == ERR_NONE || code >= ERR_CODE_COUNT)
                return -1;
        e->code = (enum err_code)code;
        return done(r);
}
