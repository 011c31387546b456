/*
 * The files of a claim: written by creto-init, as the sandbox's user, one after the other, before the claim is bound.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/pool/internal.h"

enum { SAID_MAX = 160, WRITE_MS = 10000 };

static void next_step(struct claim *c);

static void end_exec(struct claim *c)
{
        exec_detach(c->exec, &c->reader);
        exec_release(c->exec);
        exec_unref(c->exec);
        c->exec = NULL;
}

void claim_stop_files(struct claim *c)
{
        if (c->exec)
                end_exec(c);
}

/* A sandbox without them is not what was asked for. It is ended, and that is the end of the claim (claim.c). */
static void fail(struct claim *c, const struct err *e)
{
        c->failed = true;
        c->why = *e;
        sandbox_terminate(c->member->sb, NULL, NULL);
}

static void fail_file(struct claim *c, const char *said)
{
        struct err e;

        err_set(&e, ERR_INVALID_SPEC, 0, "files[%zu]: '%.100s' cannot be written: %.*s", c->file_at, c->files[c->file_at].path,
                (int)strcspn(said, "\n"), said);
        err_hint(&e, "the sandbox's user must be able to write there");
        fail(c, &e);
}

static void take_output(struct claim *c, char said[SAID_MAX])
{
        struct exec_piece piece;
        size_t len = 0;

        while (exec_peek(c->exec, &piece)) {
                size_t n = piece.stream == 2 && len + piece.len < SAID_MAX ? piece.len : 0;

                memcpy(said + len, piece.data, n);
                len += n;
                exec_advance(c->exec, piece.len);
        }
        said[len] = '\0';
}

/* A frame at a time, as long as there is room: more room is told of only where there was none. */
static void feed(struct claim *c, const struct claim_file *f)
{
        size_t room;

        while (c->sent < f->len && (room = exec_room(c->exec)) > 0) {
                size_t n = f->len - c->sent < room ? f->len - c->sent : room;

                exec_write(c->exec, (const char *)f->data + c->sent, n);
                c->sent += n;
                if (c->sent == f->len)
                        exec_eof(c->exec);
        }
}

static void on_ready(void *ctx)
{
        struct claim *c = ctx;
        const struct claim_file *f = &c->files[c->file_at];
        const struct exec_info *x = exec_info(c->exec);
        char said[SAID_MAX] = "";

        if (x->state == EXEC_STARTING || x->state == EXEC_RUNNING) {
                if (!c->mkdir)
                        feed(c, f);
                return;
        }
        take_output(c, said);
        if (x->state == EXEC_EXITED && x->exit.code == 0 && x->exit.signal == 0) {
                end_exec(c);
                c->file_at += !c->mkdir;
                c->mkdir = !c->mkdir;
                next_step(c);
        } else if (x->state == EXEC_EXITED) {
                end_exec(c);
                fail_file(c, said[0] ? said : "it was killed");
        } else if (x->state == EXEC_LOST) { /* the sandbox has died, and its claim is told next */
                end_exec(c);
        } else {
                struct err e = x->failure;

                end_exec(c);
                fail(c, &e);
        }
}

/* The folder of a file, then the file. */
static void next_step(struct claim *c)
{
        char folder[GUEST_PATH_MAX + 1], mode[16];
        const struct claim_file *f = &c->files[c->file_at];
        struct err e;

        if (c->file_at == c->file_count) {
                sandbox_claim_bind(c->member->sb);
                return;
        }
        snprintf(mode, sizeof(mode), "%o", f->mode);
        snprintf(folder, sizeof(folder), "%s", f->path);
        *strrchr(folder, '/') = '\0';
        if (c->mkdir && folder[0] == '\0')
                c->mkdir = false;
        const char *const make[] = { folder, "755", "p", NULL }, *const write[] = { f->path, mode, NULL };
        const struct exec_request req = { .kind = c->mkdir ? GUEST_KIND_MKDIR : GUEST_KIND_WRITE,
                                          .argv = c->mkdir ? make : write,
                                          .timeout_ms = WRITE_MS,
                                          .stdin_open = !c->mkdir };
        c->sent = 0;
        if (sandbox_exec(c->member->sb, &req, &c->exec, &e) < 0) {
                fail(c, &e);
                return;
        }
        if (!c->mkdir && f->len == 0)
                exec_eof(c->exec);
        exec_attach(c->exec, &c->reader, 0, 0);
        on_ready(c);
}

void claim_place_files(void *claim)
{
        struct claim *c = claim;

        c->file_at = 0;
        c->reader = (struct exec_reader){ on_ready, c };
        c->mkdir = true;
        next_step(c);
}
