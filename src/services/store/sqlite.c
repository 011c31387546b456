/*
 * The store on one machine: SQLite in WAL mode.
 *
 * Commits do not wait for the disk (synchronous=OFF): sandbox records belong to this boot, and what a killed process has written is in the page cache. A
 * durable transaction is committed with synchronous=FULL, which also makes everything before it durable. A power loss between the two can lose the last
 * records; that it cannot tear the file is what the WAL's checksums are for, and a checkpoint is only made with synchronous=FULL.
 *
 * A commit is on the path of a claim, so it should touch one page: values lie in the rows of a table (in an index they would spill), nobody else has the file
 * open, so there is no lock to take each time, and the revision is read from the rows, but for that of the last deletion.
 */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "services/store/store.h"

enum { SCHEMA = 2, SCHEMA_FIRST = 1, APPLICATION = 0x43525430 /* "CRT0" */, BUSY_MS = 2000 };

struct store {
        sqlite3 *db;
        sqlite3_stmt *begin, *commit, *rollback, *get, *put, *erase, *range, *bump;
        uint64_t revision;
        bool full;
};

static int fail(struct store *s, struct err *e, const char *what)
{
        int code = sqlite3_errcode(s->db);

        if (code == SQLITE_FULL || code == SQLITE_IOERR) {
                s->full = true;
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the store cannot be written: %s", sqlite3_errmsg(s->db));
                return err_hint(e, "is the disk of the state directory full?");
        }
        return err_set(e, ERR_INTERNAL_ERROR, 0, "the store: %s: %s", what, sqlite3_errmsg(s->db));
}

static bool exec(struct store *s, const char *sql)
{
        return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static bool step(sqlite3_stmt *st)
{
        int r = sqlite3_step(st);

        sqlite3_reset(st);
        return r == SQLITE_DONE || r == SQLITE_ROW;
}

static int64_t number(struct store *s, const char *sql)
{
        sqlite3_stmt *st = NULL;
        int64_t out = -1;

        if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
                out = sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
        return out;
}

static int open_schema(struct store *s, const char *path, struct err *e)
{
        char sql[160];
        int64_t version = number(s, "PRAGMA user_version"), application = number(s, "PRAGMA application_id");

        if (version < 0 || (version != 0 && (version > SCHEMA || application != APPLICATION)) ||
            (version == 0 && number(s, "SELECT count(*) FROM sqlite_schema") != 0)) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "'%.200s' is no store of this version", path);
                return err_hint(e, "move it away, or run the version that made it; nothing in it was changed");
        }
        snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d;", APPLICATION, SCHEMA);
        if (!exec(s, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=200;"
                     "PRAGMA temp_store=MEMORY; BEGIN EXCLUSIVE;") ||
            (version == SCHEMA_FIRST && !exec(s, "ALTER TABLE kv RENAME TO first;")) ||
            !exec(s, "CREATE TABLE IF NOT EXISTS kv(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL,"
                     " made INTEGER NOT NULL, changed INTEGER NOT NULL);"
                     "CREATE TABLE IF NOT EXISTS revision(id INTEGER PRIMARY KEY CHECK(id=1), at INTEGER NOT NULL);"
                     "INSERT OR IGNORE INTO revision VALUES(1, 0);") ||
            (version == SCHEMA_FIRST &&
             !exec(s, "INSERT INTO kv(key,value,made,changed) SELECT key,value,made,changed FROM first; DROP TABLE first;")) ||
            (version < SCHEMA && !exec(s, sql)) || !exec(s, "COMMIT"))
                return fail(s, e, "cannot be set up");
        s->revision = (uint64_t)number(s, "SELECT max(at, (SELECT ifnull(max(changed), 0) FROM kv)) FROM revision");
        return 0;
}

static int prepare_all(struct store *s, struct err *e)
{
        const struct {
                sqlite3_stmt **to;
                const char *sql;
        } all[] = {
                { &s->begin, "BEGIN IMMEDIATE" },
                { &s->commit, "COMMIT" },
                { &s->rollback, "ROLLBACK" },
                { &s->get, "SELECT changed FROM kv WHERE key=?1" },
                { &s->put,
                  "INSERT INTO kv(key,value,made,changed) VALUES(?1,?2,?3,?3) ON CONFLICT(key) DO UPDATE SET value=?2, changed=?3" },
                { &s->erase, "DELETE FROM kv WHERE key=?1" },
                { &s->range, "SELECT key,value,made,changed FROM kv WHERE key>=?1 ORDER BY key" },
                { &s->bump, "UPDATE revision SET at=?1" },
        };

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                if (sqlite3_prepare_v3(s->db, all[i].sql, -1, SQLITE_PREPARE_PERSISTENT, all[i].to, NULL) != SQLITE_OK)
                        return fail(s, e, "cannot be prepared");
        return 0;
}

int store_open_sqlite(const char *path, struct store **out, struct err *e)
{
        struct store *s = calloc(1, sizeof(*s));
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0 || !s) {
                free(s);
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "cannot open the store '%.200s': %m", path);
                return err_hint(e, "the state directory has to be there, and the service's own");
        }
        close(fd);
        if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
                fail(s, e, "cannot be opened");
        else if (sqlite3_busy_timeout(s->db, BUSY_MS), open_schema(s, path, e) == 0 && prepare_all(s, e) == 0) {
                *out = s;
                return 0;
        }
        store_close(s);
        return -(int)e->code;
}

void store_close(struct store *s)
{
        if (!s)
                return;
        sqlite3_stmt *const all[] = { s->begin, s->commit, s->rollback, s->get, s->put, s->erase, s->range, s->bump };
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                sqlite3_finalize(all[i]);
        sqlite3_close(s->db);
        free(s);
}

/* ---- transactions ---- */

static uint64_t mod_revision(struct store *s, const char *key)
{
        uint64_t at = 0;

        sqlite3_bind_text(s->get, 1, key, -1, SQLITE_STATIC);
        if (sqlite3_step(s->get) == SQLITE_ROW)
                at = (uint64_t)sqlite3_column_int64(s->get, 0);
        sqlite3_reset(s->get);
        return at;
}

static bool compare_all(struct store *s, const struct store_op *ops, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (ops[i].expect != STORE_ANY && mod_revision(s, ops[i].key) != ops[i].expect)
                        return false;
        return true;
}

static bool apply(struct store *s, const struct store_op *op, uint64_t revision, bool *changed)
{
        sqlite3_stmt *st = op->value ? s->put : s->erase;

        sqlite3_bind_text(st, 1, op->key, -1, SQLITE_STATIC);
        if (op->value) {
                sqlite3_bind_blob(st, 2, op->value, (int)op->len, SQLITE_STATIC);
                sqlite3_bind_int64(st, 3, (sqlite3_int64)revision);
        }
        if (!step(st))
                return false;
        *changed |= sqlite3_changes(s->db) > 0;
        return true;
}

static int check_ops(const struct store_op *ops, size_t count, struct err *e)
{
        if (count == 0 || count > STORE_OPS_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "a transaction has 1 to %d steps, not %zu", STORE_OPS_MAX, count);
        for (size_t i = 0; i < count; i++)
                if (!ops[i].key[0] || strlen(ops[i].key) > STORE_KEY_MAX || (ops[i].value && ops[i].len > STORE_VALUE_MAX))
                        return err_set(e, ERR_INVALID_SPEC, 0, "a key has 1 to %d bytes, and a value at most %d", STORE_KEY_MAX,
                                       STORE_VALUE_MAX);
        return 0;
}

static bool deletes(const struct store_op *ops, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (!ops[i].value)
                        return true;
        return false;
}

static bool bump(struct store *s, uint64_t revision)
{
        sqlite3_bind_int64(s->bump, 1, (sqlite3_int64)revision);
        return step(s->bump);
}

static int run_txn(struct store *s, const struct store_op *ops, size_t count, bool *lost, struct err *e)
{
        uint64_t revision = s->revision + 1;
        bool good = true, changed = false;

        if (!step(s->begin))
                return fail(s, e, "cannot begin");
        *lost = !compare_all(s, ops, count);
        for (size_t i = 0; i < count && good && !*lost; i++)
                good = apply(s, &ops[i], revision, &changed);
        if (good && changed) {
                good = (!deletes(ops, count) || bump(s, revision)) && step(s->commit);
                if (good) {
                        s->revision = revision;
                        s->full = false;
                        return 0;
                }
        }
        if (!good)
                fail(s, e, "cannot be changed");
        step(s->rollback); /* fails where SQLite has done it already */
        return good ? 0 : -(int)e->code;
}

void store_txn(struct store *s, const struct store_op *ops, size_t count, bool durable, store_done_fn *done, void *ctx)
{
        bool lost = false;
        struct err e;
        int r = check_ops(ops, count, &e);

        if (r == 0 && durable)
                exec(s, "PRAGMA synchronous=FULL");
        if (r == 0)
                r = run_txn(s, ops, count, &lost, &e);
        if (r == 0 && durable)
                sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        if (durable)
                exec(s, "PRAGMA synchronous=OFF");
        if (done)
                done(ctx, lost, s->revision, r < 0 ? &e : NULL);
}

void store_range(struct store *s, const char *prefix, store_each_fn *each, store_done_fn *done, void *ctx)
{
        size_t len = strlen(prefix);
        bool go_on = true;

        sqlite3_bind_text(s->range, 1, prefix, -1, SQLITE_STATIC);
        while (go_on && sqlite3_step(s->range) == SQLITE_ROW) {
                const struct store_kv kv = { .key = (const char *)sqlite3_column_text(s->range, 0),
                                             .value = sqlite3_column_blob(s->range, 1),
                                             .len = (size_t)sqlite3_column_bytes(s->range, 1),
                                             .create_revision = (uint64_t)sqlite3_column_int64(s->range, 2),
                                             .mod_revision = (uint64_t)sqlite3_column_int64(s->range, 3) };

                go_on = kv.key && strncmp(kv.key, prefix, len) == 0 && each(ctx, &kv);
        }
        sqlite3_reset(s->range);
        if (done)
                done(ctx, false, s->revision, NULL);
}

bool store_healthy(struct store *s)
{
        return !s->full;
}
