/*
 * What any store has to do, whatever is behind it: store.h, sentence by sentence. `make_store` is all that another one has to bring. The callbacks may come
 * late, so nothing here looks at a result before it has come.
 */
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "services/store/store.h"

static char dir[64], path[96];

static struct store *make_store(void)
{
        struct store *s = NULL;
        struct err e;

        if (store_open_sqlite(path, &s, &e) < 0)
                test_fail(__FILE__, __LINE__, "open: %s", e.msg);
        return s;
}

static struct store *fresh(void)
{
        snprintf(dir, sizeof(dir), "/tmp/creto-store-XXXXXX");
        if (!mkdtemp(dir))
                return NULL;
        snprintf(path, sizeof(path), "%s/db", dir);
        return make_store();
}

static void done_with(struct store *s)
{
        static const char *const ends[] = { "", "-wal", "-shm", "-journal" };
        char name[128];

        store_close(s);
        for (int i = 0; i < 4; i++) {
                snprintf(name, sizeof(name), "%s%s", path, ends[i]);
                unlink(name);
        }
        rmdir(dir);
}

struct answer {
        bool came, lost;
        uint64_t revision;
        enum err_code code;
};

static void on_done(void *ctx, bool lost, uint64_t revision, const struct err *e)
{
        *(struct answer *)ctx = (struct answer){ true, lost, revision, e ? e->code : ERR_NONE };
}

static struct answer txn(struct store *s, const struct store_op *ops, size_t count, bool durable)
{
        struct answer a = { 0 };

        store_txn(s, ops, count, durable, on_done, &a);
        return a;
}

static struct answer put(struct store *s, const char *key, const char *value, uint64_t expect)
{
        const struct store_op op = { key, value, value ? strlen(value) : 0, expect };

        return txn(s, &op, 1, false);
}

/* "key=value@created/changed;" of all under a prefix. */
struct seen {
        struct answer answer;
        char text[4096];
        size_t most, count;
};

static bool on_each(void *ctx, const struct store_kv *kv)
{
        struct seen *seen = ctx;
        size_t n = strlen(seen->text);

        snprintf(seen->text + n, sizeof(seen->text) - n, "%s=%.*s@%llu/%llu;", kv->key, (int)kv->len, (const char *)kv->value,
                 (unsigned long long)kv->create_revision, (unsigned long long)kv->mod_revision);
        return ++seen->count != seen->most;
}

static void on_range(void *ctx, bool lost, uint64_t revision, const struct err *e)
{
        on_done(&((struct seen *)ctx)->answer, lost, revision, e);
}

static const char *range(struct store *s, const char *prefix, size_t most)
{
        static struct seen seen;

        seen = (struct seen){ .most = most };
        store_range(s, prefix, on_each, on_range, &seen);
        if (!seen.answer.came || seen.answer.code != ERR_NONE)
                test_fail(__FILE__, __LINE__, "range of '%s': %d", prefix, seen.answer.code);
        return seen.text;
}

TEST(a_key_is_put_changed_and_deleted)
{
        struct store *s = fresh();

        CHECK(s);
        struct answer a = put(s, "k", "one", STORE_ANY);
        CHECK(a.came && !a.lost && a.revision == 1);
        CHECK_STR(range(s, "", 0), "k=one@1/1;");
        CHECK_INT(put(s, "k", "two", STORE_ANY).revision, 2);
        CHECK_STR(range(s, "", 0), "k=two@1/2;");
        CHECK_INT(put(s, "k", NULL, STORE_ANY).revision, 3);
        CHECK_STR(range(s, "", 0), "");
        CHECK_INT(put(s, "k", "three", STORE_ANY).revision, 4);
        CHECK_STR(range(s, "", 0), "k=three@4/4;");
        done_with(s);
}

TEST(what_changes_nothing_is_no_revision)
{
        struct store *s = fresh();

        CHECK(s);
        put(s, "k", "v", STORE_ANY);
        CHECK_INT(put(s, "nothing", NULL, STORE_ANY).revision, 1);
        CHECK_INT(put(s, "k", "w", 99).revision, 1);
        CHECK_INT(put(s, "k", "w", STORE_ANY).revision, 2);
        done_with(s);
}

TEST(comparisons)
{
        struct store *s = fresh();

        CHECK(s);
        CHECK(!put(s, "k", "v", 0).lost);
        CHECK(put(s, "k", "x", 0).lost);
        CHECK(put(s, "k", "x", 2).lost);
        CHECK(!put(s, "k", "w", 1).lost);
        CHECK(put(s, "k", "x", 1).lost);
        CHECK(put(s, "k", NULL, 1).lost);
        CHECK_STR(range(s, "", 0), "k=w@1/2;");
        CHECK(!put(s, "k", NULL, 2).lost);
        CHECK(!put(s, "k", "again", 0).lost);
        CHECK(put(s, "absent", "x", 5).lost);
        done_with(s);
}

TEST(all_of_it_or_nothing)
{
        struct store *s = fresh();
        const struct store_op good[] = { { "a", "1", 1, 0 }, { "b", "2", 1, 0 }, { "c", "3", 1, STORE_ANY } };
        const struct store_op bad[] = { { "a", "9", 1, 1 }, { "d", "9", 1, 0 }, { "b", NULL, 0, 7 } };

        CHECK(s);
        CHECK_INT(txn(s, good, 3, true).revision, 1);
        CHECK_STR(range(s, "", 0), "a=1@1/1;b=2@1/1;c=3@1/1;");
        CHECK(txn(s, bad, 3, true).lost);
        CHECK_STR(range(s, "", 0), "a=1@1/1;b=2@1/1;c=3@1/1;");
        done_with(s);
}

TEST(prefixes_in_order)
{
        struct store *s = fresh();

        CHECK(s);
        static const char *const keys[] = { "/b/2", "/a", "/b/10", "/b", "/c/1", "/b/1", "/b0" };
        for (size_t i = 0; i < 7; i++)
                put(s, keys[i], "", STORE_ANY);
        CHECK_STR(range(s, "/b/", 0), "/b/1=@6/6;/b/10=@3/3;/b/2=@1/1;");
        CHECK_STR(range(s, "/b/", 2), "/b/1=@6/6;/b/10=@3/3;");
        CHECK_STR(range(s, "/x", 0), "");
        CHECK_STR(range(s, "/c/1", 0), "/c/1=@5/5;");
        done_with(s);
}

TEST(bytes_and_limits)
{
        struct store *s = fresh();
        static char key[STORE_KEY_MAX + 2], value[STORE_VALUE_MAX + 1];
        struct store_op op = { "k", value, STORE_VALUE_MAX, STORE_ANY }, many[STORE_OPS_MAX + 1];

        CHECK(s);
        memset(value, 0, sizeof(value));
        memset(key, 'k', sizeof(key) - 1);
        CHECK_INT(txn(s, &op, 1, false).code, ERR_NONE);
        op.len++;
        CHECK(txn(s, &op, 1, false).code != ERR_NONE);
        op = (struct store_op){ key, "v", 1, STORE_ANY };
        CHECK(txn(s, &op, 1, false).code != ERR_NONE);
        key[STORE_KEY_MAX] = '\0';
        CHECK_INT(txn(s, &op, 1, false).code, ERR_NONE);
        for (size_t i = 0; i <= STORE_OPS_MAX; i++)
                many[i] = (struct store_op){ "m", "v", 1, STORE_ANY };
        CHECK(txn(s, many, STORE_OPS_MAX + 1, false).code != ERR_NONE);
        done_with(s);
}

TEST(it_is_there_when_it_is_opened_again)
{
        struct store *s = fresh();

        CHECK(s);
        put(s, "k", "v", STORE_ANY);
        put(s, "k", "w", STORE_ANY);
        store_close(s);
        s = make_store();
        CHECK(s && store_healthy(s));
        CHECK_STR(range(s, "", 0), "k=w@1/2;");
        CHECK_INT(put(s, "l", "x", 0).revision, 3);
        done_with(s);
}

TEST(what_is_no_store_stays_as_it_is)
{
        struct store *s = fresh();
        struct err e;
        char back[16] = "";

        CHECK(s);
        done_with(s);
        CHECK(mkdir(dir, 0700) == 0);
        FILE *f = fopen(path, "w");
        CHECK(f);
        fputs("no database", f);
        fclose(f);
        CHECK(store_open_sqlite(path, &s, &e) < 0 && e.msg[0]);
        f = fopen(path, "r");
        CHECK(f && fgets(back, sizeof(back), f));
        fclose(f);
        CHECK_STR(back, "no database");
        unlink(path);
        rmdir(dir);
}

struct nested {
        struct store *s;
        struct answer inner, outer;
};

static void call_again(void *ctx, bool lost, uint64_t revision, const struct err *e)
{
        struct nested *n = ctx;
        const struct store_op op = { "inner", "v", 1, 0 };

        on_done(&n->outer, lost, revision, e);
        store_txn(n->s, &op, 1, false, on_done, &n->inner);
}

TEST(a_callback_may_call_the_store)
{
        struct nested n = { .s = fresh() };
        const struct store_op op = { "outer", "v", 1, 0 };

        CHECK(n.s);
        store_txn(n.s, &op, 1, false, call_again, &n);
        CHECK(n.outer.came && n.inner.came && n.inner.code == ERR_NONE);
        CHECK_STR(range(n.s, "", 0), "inner=v@2/2;outer=v@1/1;");
        done_with(n.s);
}
