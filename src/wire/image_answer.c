#include "wire/image_answer.h"

#include <stdalign.h>
#include <string.h>

struct arena {
        uint8_t *mem;
        size_t cap;
        size_t used;
        bool full;
};

static void *arena_take(struct arena *m, size_t size, size_t align)
{
        size_t pad = (align - ((uintptr_t)m->mem + m->used) % align) % align;

        if (m->full || pad > m->cap - m->used || size > m->cap - m->used - pad) {
                m->full = true;
                return NULL;
        }
        void *p = m->mem + m->used + pad;
        m->used += pad + size;
        return p;
}

static void put_list(struct wbuf *w, const struct image_answer_list *l)
{
        wbuf_u32(w, l->count);
        for (uint32_t i = 0; i < l->count; i++)
                wbuf_str(w, l->items[i]);
}

static void put_image(struct wbuf *w, const struct image_answer *a)
{
        wbuf_str(w, a->id);
        wbuf_u32(w, a->layer_count);
        for (uint32_t i = 0; i < a->layer_count; i++)
                wbuf_str(w, a->layers[i]);
        put_list(w, &a->env);
        wbuf_str(w, a->cwd);
        wbuf_str(w, a->user);
        put_list(w, &a->entrypoint);
        put_list(w, &a->cmd);
}

void image_answer_put(struct wbuf *w, const struct image_answer *a)
{
        wbuf_u32(w, IMAGE_ANSWER_MAGIC);
        wbuf_u8(w, a->ok);
        if (a->ok) {
                put_image(w, a);
                return;
        }
        wbuf_u32(w, (uint32_t)a->error.code);
        wbuf_str(w, a->error.msg);
        wbuf_str(w, a->error.hint);
}

/* How many bytes of control character there are: C0 and DEL, or C1 as UTF-8 has it. */
static size_t control_at(const char *s)
{
        const unsigned char *u = (const unsigned char *)s;

        if (u[0] < ' ' || u[0] == 0x7f)
                return u[0] ? 1 : 0;
        return u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0 ? 2 : 0;
}

void image_answer_clean(char *text)
{
        for (char *s = text; *s; s++)
                memset(s, '?', control_at(s));
}

static bool is_clean(const char *s)
{
        for (; *s; s++)
                if (control_at(s))
                        return false;
        return true;
}

static const char *get_str(struct rbuf *r, struct arena *m)
{
        struct bytes b = rbuf_blob(r, IMAGE_ANSWER_MAX);
        char *s;

        if (r->bad || !(s = arena_take(m, b.len + 1, 1)))
                return "";
        if (b.len > 0)
                memcpy(s, b.data, b.len);
        s[b.len] = '\0';
        if (strlen(s) != b.len)
                r->bad = true;
        return s;
}

static void get_list(struct rbuf *r, struct arena *m, struct image_answer_list *l)
{
        uint32_t count = rbuf_u32(r);
        const char **items;

        if (count > IMAGE_ANSWER_STRINGS_MAX)
                r->bad = true;
        if (r->bad || !(items = arena_take(m, (count + 1) * sizeof(*items), alignof(char *))))
                return;
        for (uint32_t i = 0; i < count; i++)
                items[i] = get_str(r, m);
        items[count] = NULL;
        *l = (struct image_answer_list){ count, items };
}

static bool is_hex(const char *s)
{
        return strlen(s) == IMAGE_ANSWER_HEX && strspn(s, "0123456789abcdef") == IMAGE_ANSWER_HEX;
}

static void get_layers(struct rbuf *r, struct image_answer *a)
{
        uint32_t count = rbuf_u32(r);

        if (count > IMAGE_ANSWER_LAYERS_MAX)
                r->bad = true;
        for (uint32_t i = 0; i < count && !r->bad; i++) {
                rbuf_str(r, a->layers[i], sizeof(a->layers[i]));
                if (!is_hex(a->layers[i]))
                        r->bad = true;
        }
        a->layer_count = r->bad ? 0 : count;
}

static void get_image(struct rbuf *r, struct arena *m, struct image_answer *a)
{
        rbuf_str(r, a->id, sizeof(a->id));
        if (strncmp(a->id, "sha256:", 7) != 0 || !is_hex(a->id + 7))
                r->bad = true;
        get_layers(r, a);
        get_list(r, m, &a->env);
        a->cwd = get_str(r, m);
        a->user = get_str(r, m);
        get_list(r, m, &a->entrypoint);
        get_list(r, m, &a->cmd);
}

static void get_error(struct rbuf *r, struct err *e)
{
        uint32_t code = rbuf_u32(r);

        if (code == ERR_NONE || code >= ERR_CODE_COUNT)
                r->bad = true;
        e->code = r->bad ? ERR_INTERNAL_ERROR : (enum err_code)code;
        rbuf_str(r, e->msg, sizeof(e->msg));
        rbuf_str(r, e->hint, sizeof(e->hint));
        if (!is_clean(e->msg) || !is_clean(e->hint))
                r->bad = true;
}

int image_answer_get(const void *data, size_t len, void *arena, size_t cap, struct image_answer *a)
{
        struct rbuf r = rbuf_over(data, len);
        struct arena m = { .mem = arena, .cap = cap };

        *a = (struct image_answer){ .cwd = "", .user = "" };
        if (len > IMAGE_ANSWER_MAX || rbuf_u32(&r) != IMAGE_ANSWER_MAGIC)
                return -1;
        uint8_t ok = rbuf_u8(&r);
        if (ok > 1)
                return -1;
        a->ok = ok;
        if (a->ok)
                get_image(&r, &m, a);
        else
                get_error(&r, &a->error);
        return rbuf_done(&r) && !m.full ? 0 : -1;
}
