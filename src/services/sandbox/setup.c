/*
 * What every command of a sandbox has in common: strings of its spec and of its image, copied once into one block.
 */
#include <stdlib.h>
#include <string.h>

#include "services/sandbox/internal.h"
#include "wire/image_answer.h"

/* Vectors first, strings behind them; run twice, first to measure. */
struct packer {
        char *memory; /* NULL: only measures */
        size_t pointers, bytes, vector_space;
};

static const char *pack(struct packer *p, const char *s)
{
        size_t len = strlen(s) + 1;
        char *to = p->memory ? p->memory + p->vector_space + p->bytes : NULL;

        if (to)
                memcpy(to, s, len);
        p->bytes += len;
        return to;
}

static const char *const *pack_all(struct packer *p, const char *const *a, size_t an, const char *const *b, size_t bn)
{
        const char **out = p->memory ? (const char **)(void *)p->memory + p->pointers : NULL;

        p->pointers += an + bn + 1;
        for (size_t i = 0; i < an + bn; i++) {
                const char *s = pack(p, i < an ? a[i] : b[i - an]);

                if (out)
                        out[i] = s;
        }
        if (out)
                out[an + bn] = NULL;
        return out;
}

static const char *first_of(const char *a, const char *b)
{
        return a && *a ? a : b && *b ? b : NULL;
}

static void pack_setup(struct packer *p, struct setup *s, const struct spec *spec, const struct image_answer *image)
{
        const struct image_answer_list none = { 0 };
        const struct image_answer_list *env = image ? &image->env : &none, *entry = image ? &image->entrypoint : &none,
                                       *cmd = image ? &image->cmd : &none;
        const char *cwd = first_of(spec->cwd, image ? image->cwd : NULL), *user = first_of(spec->user, image ? image->user : NULL);

        s->env = pack_all(p, spec->env, spec->env_count, NULL, 0);
        s->image_env = pack_all(p, env->items, env->count, NULL, 0);
        s->labels = pack_all(p, spec->labels, spec->label_count, NULL, 0);
        s->command = pack_all(p, entry->items, entry->count, cmd->items, cmd->count);
        s->prewarm = spec->prewarm;
        for (size_t i = 0; i < s->prewarm.count; i++)
                s->prewarm.items[i] = pack(p, spec->prewarm.items[i]);
        s->label_count = spec->label_count;
        s->entrypoint_count = entry->count;
        s->image = pack(p, spec->image);
        s->runtime = pack(p, strcmp(spec->runtime, "auto") == 0 ? "native" : spec->runtime);
        s->cwd = cwd ? pack(p, cwd) : NULL;
        s->user = user ? pack(p, user) : NULL;
}

int setup_make(struct sandbox *sb, const struct spec *spec, const struct image_answer *image, struct err *e)
{
        struct packer measure = { NULL, 0, 0, 0 }, p;
        struct setup s;

        pack_setup(&measure, &s, spec, image);
        p = (struct packer){ .memory = malloc(measure.pointers * sizeof(char *) + measure.bytes),
                             .vector_space = measure.pointers * sizeof(char *) };
        if (!p.memory)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        pack_setup(&p, &s, spec, image);
        s.memory = p.memory;
        setup_release(&sb->setup);
        sb->setup = s;
        sb->limits = spec->limits;
        sb->vcpus = spec->vcpus;
        sb->ttl_ms = spec->ttl_ms;
        sb->idle_ms = spec->idle_ms;
        sb->restart = spec->restart;
        sb->info.image = s.image;
        sb->info.runtime = s.runtime;
        sb->info.labels = s.labels;
        sb->info.label_count = s.label_count;
        return 0;
}

void setup_release(struct setup *s)
{
        free(s->memory);
        *s = (struct setup){ 0 };
}
