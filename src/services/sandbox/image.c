/*
 * Images for the daemon: creto-image finds them, confined and started by the warden; its answers are kept for as long as the layers that they name can be had.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "domain/image_ref.h"
#include "services/sandbox/internal.h"
#include "wire/image_answer.h"

enum { CACHE_MAX = 64 };

struct asker {
        struct asker *next;
        image_done_fn *done;
        void *ctx;
};

struct entry {
        struct entry *next;
        struct image_cache *cache;
        char *ref;
        bool known;
        struct asker *askers; /* while it is looked for */
        int answer_fd, null_fd;
        struct image_answer answer;
        uint8_t *arena;
};

struct image_cache {
        struct sandboxes *all;
        struct entry *entries;
        unsigned count;
};

struct image_cache *image_cache_new(struct sandboxes *all)
{
        struct image_cache *c = calloc(1, sizeof(*c));

        if (c)
                c->all = all;
        return c;
}

static void entry_free(struct entry *en)
{
        fd_close(&en->answer_fd);
        fd_close(&en->null_fd);
        while (en->askers) {
                struct asker *a = en->askers;

                en->askers = a->next;
                free(a);
        }
        free(en->arena);
        free(en->ref);
        free(en);
}

void image_cache_free(struct image_cache *c)
{
        while (c && c->entries) {
                struct entry *en = c->entries;

                c->entries = en->next;
                entry_free(en);
        }
        free(c);
}

static void unlink_entry(struct entry *en)
{
        for (struct entry **at = &en->cache->entries; *at; at = &(*at)->next)
                if (*at == en) {
                        *at = en->next;
                        en->cache->count--;
                        return;
                }
}

void image_cache_drop(struct image_cache *c, const char *ref)
{
        for (struct entry *en = c->entries; en; en = en->next)
                if (strcmp(en->ref, ref) == 0 && en->known) {
                        unlink_entry(en);
                        entry_free(en);
                        return;
                }
}

/* The last of those that are known goes. */
static void make_room(struct image_cache *c)
{
        struct entry *victim = NULL;

        if (c->count < CACHE_MAX)
                return;
        for (struct entry *en = c->entries; en; en = en->next)
                if (en->known)
                        victim = en;
        if (victim) {
                unlink_entry(victim);
                entry_free(victim);
        }
}

static int read_answer(struct entry *en, int32_t status, struct err *e)
{
        struct stat st;

        err_set(e, ERR_INTERNAL_ERROR, 0, "image '%.200s': creto-image ended with status %d and no answer", en->ref, status);
        err_hint(e, "try again; if it stays so, 'creto-runtime image prune' removes what nothing needs");
        if (fcntl(en->answer_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0 || fstat(en->answer_fd, &st) < 0 ||
            st.st_size <= 0 || st.st_size > IMAGE_ANSWER_MAX)
                return -(int)e->code;
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, en->answer_fd, 0);
        en->arena = malloc(IMAGE_ANSWER_ARENA);
        bool good = data != MAP_FAILED && en->arena &&
                    image_answer_get(data, (size_t)st.st_size, en->arena, IMAGE_ANSWER_ARENA, &en->answer) == 0;
        if (data != MAP_FAILED)
                munmap(data, (size_t)st.st_size);
        if (good && !en->answer.ok)
                *e = en->answer.error;
        return good && en->answer.ok && status == 0 ? 0 : -(int)e->code;
}

static void answer_all(struct entry *en, const struct err *e)
{
        while (en->askers) {
                struct asker *a = en->askers;

                en->askers = a->next;
                a->done(a->ctx, e ? NULL : &en->answer, e);
                free(a);
        }
}

static void on_done(void *ctx, const struct link_answer *a)
{
        struct entry *en = ctx;
        struct err e;

        if (a->error)
                e = *a->error;
        if (a->error || read_answer(en, a->status, &e) < 0) {
                unlink_entry(en);
                answer_all(en, &e);
                entry_free(en);
                return;
        }
        fd_close(&en->answer_fd);
        fd_close(&en->null_fd);
        en->known = true;
        answer_all(en, NULL);
}

static bool add_asker(struct entry *en, image_done_fn *done, void *ctx)
{
        struct asker *a = malloc(sizeof(*a));

        if (!a)
                return false;
        *a = (struct asker){ en->askers, done, ctx };
        en->askers = a;
        return true;
}

static struct entry *entry_new(struct image_cache *c, const char *ref)
{
        struct entry *en = calloc(1, sizeof(*en));

        if (!en)
                return NULL;
        en->cache = c;
        en->ref = strdup(ref);
        en->answer_fd = memfd_create("creto-image-answer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        en->null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (!en->ref || en->answer_fd < 0 || en->null_fd < 0) {
                entry_free(en);
                return NULL;
        }
        make_room(c);
        en->next = c->entries;
        c->entries = en;
        c->count++;
        return en;
}

static void ask(struct image_cache *c, struct entry *en, bool pull)
{
        struct ipc_image *req = calloc(1, sizeof(*req));
        const int fds[2] = { en->answer_fd, en->null_fd };

        if (!req) {
                struct link_answer a = { .fd = -1 };
                struct err e;

                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                a.error = &e;
                on_done(en, &a);
                return;
        }
        snprintf(req->args[req->argc++], sizeof(req->args[0]), "resolve");
        snprintf(req->args[req->argc++], sizeof(req->args[0]), "--wire");
        if (pull)
                snprintf(req->args[req->argc++], sizeof(req->args[0]), "--pull");
        snprintf(req->args[req->argc++], sizeof(req->args[0]), "%s", en->ref);
        link_image(c->all->link, req, fds, on_done, en);
        free(req);
}

static int check(const char *ref, struct image_ref *parsed, struct err *e)
{
        if (image_ref_parse(ref, parsed, e) < 0)
                return -(int)e->code;
        if (parsed->kind == IMAGE_REGISTRY || parsed->kind == IMAGE_HOST)
                return 0;
        err_set(e, ERR_NOT_SUPPORTED, 0, "image '%.200s': the service takes host and images of registries", ref);
        return err_hint(e, "it reads no path that a caller names; 'creto-runtime run' does, with the caller's own rights");
}

int sandboxes_image_check(const char *ref, struct err *e)
{
        struct image_ref parsed;

        return check(ref, &parsed, e);
}

void image_find(struct image_cache *c, const char *ref, bool pull, image_done_fn *done, void *ctx)
{
        struct image_ref parsed;
        struct entry *en;
        struct err e;
        int r = check(ref, &parsed, &e);

        if (r < 0 || parsed.kind == IMAGE_HOST) {
                done(ctx, NULL, r < 0 ? &e : NULL);
                return;
        }
        if (pull)
                image_cache_drop(c, ref);
        for (en = c->entries; en; en = en->next)
                if (strcmp(en->ref, ref) == 0)
                        break;
        if (en && en->known) {
                done(ctx, &en->answer, NULL);
                return;
        }
        bool begin = !en;
        if (!en)
                en = entry_new(c, ref);
        if (!en || !add_asker(en, done, ctx)) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, &e);
                return;
        }
        if (begin)
                ask(c, en, pull);
}
