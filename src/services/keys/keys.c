#include "services/keys/keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/str.h"
#include "base/time.h"
#include "wire/json.h"

enum { DIGEST = 32, SECRET_BYTES = 20, NODES = 64 };

struct key {
        struct key_info info;
        uint8_t digest[DIGEST];
        bool fixed;
};

struct keys {
        struct store *store;
        struct key *list;
        int count, cap;
};

static const char *const roles[] = { [ROLE_NONE] = "none", [ROLE_AGENT] = "agent", [ROLE_OPERATOR] = "operator", [ROLE_ADMIN] = "admin" };

const char *key_role_name(enum key_role role)
{
        return roles[role];
}

enum key_role key_role_of(const char *name)
{
        for (unsigned i = ROLE_AGENT; i <= ROLE_ADMIN; i++)
                if (strcmp(roles[i], name) == 0)
                        return (enum key_role)i;
        return ROLE_NONE;
}

static bool digest_of(const char *text, uint8_t out[DIGEST])
{
        return EVP_Digest(text, strlen(text), out, NULL, EVP_sha256(), NULL) == 1;
}

static struct key *add(struct keys *k)
{
        if (k->count == k->cap) {
                int cap = k->cap ? 2 * k->cap : 16;
                struct key *list = k->count >= KEYS_MAX ? NULL : realloc(k->list, (size_t)cap * sizeof(*list));

                if (!list)
                        return NULL;
                k->list = list;
                k->cap = cap;
        }
        k->list[k->count] = (struct key){ 0 };
        return &k->list[k->count++];
}

/* ---- the store ---- */

static void store_key(const char *id, char out[32])
{
        snprintf(out, 32, "apikeys/%s", id);
}

static bool load_one(void *ctx, const struct store_kv *kv)
{
        struct keys *k = ctx;
        struct json_node nodes[NODES];
        char hex[2 * DIGEST + 1] = "", role[16] = "";
        struct key *key = add(k);

        if (!key)
                return false;
        bool good = json_parse(kv->value, kv->len, nodes, NODES, NULL) > 0 && json_str(json_get(nodes, "sha256"), hex, sizeof(hex)) &&
                    str_unhex(hex, key->digest, DIGEST) && json_str(json_get(nodes, "name"), key->info.name, sizeof(key->info.name)) &&
                    json_str(json_get(nodes, "role"), role, sizeof(role)) && json_u64(json_get(nodes, "created"), &key->info.created_ms) &&
                    json_u64(json_get(nodes, "expires"), &key->info.expires_ms);
        snprintf(key->info.id, sizeof(key->info.id), "%.8s", kv->key + strlen("apikeys/"));
        key->info.role = key_role_of(role);
        if (!good || key->info.role == ROLE_NONE)
                k->count--; /* what cannot be read opens nothing */
        return true;
}

int keys_open(struct store *store, struct keys **out, struct err *e)
{
        struct keys *k = calloc(1, sizeof(*k));

        if (!k)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        k->store = store;
        store_range(store, "apikeys/", load_one, NULL, k);
        *out = k;
        return 0;
}

int keys_add_fixed(struct keys *k, const char *name, enum key_role role, const char *sha256, struct err *e)
{
        uint8_t digest[DIGEST];
        struct key *key;

        if (!str_unhex(sha256, digest, DIGEST) || role == ROLE_NONE || strlen(name) > KEY_NAME_MAX || !*name)
                return err_set(e, ERR_INVALID_SPEC, 0, "key '%.64s': it needs a name, a role, and the 64 hex digits of its SHA-256", name);
        if (!(key = add(k)))
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory, or more than %d keys", KEYS_MAX);
        key->fixed = true;
        key->info.role = role;
        memcpy(key->digest, digest, DIGEST);
        snprintf(key->info.name, sizeof(key->info.name), "%s", name);
        str_hex(digest, KEY_ID_MAX / 2, key->info.id);
        return 0;
}

/* ---- making and revoking ---- */

struct making {
        struct key_info info;
        char text[KEY_TEXT_MAX];
        struct keys *keys;
        key_made_fn *done;
        void *ctx;
};

static void forget(struct keys *k, const char *id)
{
        for (int i = 0; i < k->count; i++)
                if (strcmp(k->list[i].info.id, id) == 0 && !k->list[i].fixed) {
                        k->list[i] = k->list[--k->count];
                        return;
                }
}

static void on_made(void *ctx, bool lost, uint64_t revision, const struct err *e)
{
        struct making *m = ctx;

        (void)lost;
        (void)revision;
        if (e)
                forget(m->keys, m->info.id);
        m->done(m->ctx, &m->info, m->text, e);
        OPENSSL_cleanse(m, sizeof(*m));
        free(m);
}

static bool make_text(struct key_info *info, char text[KEY_TEXT_MAX])
{
        uint8_t id[KEY_ID_MAX / 2], secret[SECRET_BYTES];
        char hex[2 * SECRET_BYTES + 1];

        if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id) || getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret))
                return false;
        str_hex(id, sizeof(id), info->id);
        str_hex(secret, sizeof(secret), hex);
        snprintf(text, KEY_TEXT_MAX, "creto_%s_%s", info->id, hex);
        OPENSSL_cleanse(hex, sizeof(hex));
        return true;
}

static void save(struct keys *k, const struct key *key, struct making *m)
{
        uint8_t space[512];
        struct wbuf w = wbuf_over(space, sizeof(space));
        struct json_put j = json_put_over(&w);
        char hex[2 * DIGEST + 1], at[32];

        str_hex(key->digest, DIGEST, hex);
        json_put_object(&j);
        json_put_key(&j, "name");
        json_put_string(&j, key->info.name);
        json_put_key(&j, "role");
        json_put_string(&j, key_role_name(key->info.role));
        json_put_key(&j, "sha256");
        json_put_string(&j, hex);
        json_put_key(&j, "created");
        json_put_u64(&j, key->info.created_ms);
        json_put_key(&j, "expires");
        json_put_u64(&j, key->info.expires_ms);
        json_put_end(&j);
        store_key(key->info.id, at);
        const struct store_op op = { .key = at, .value = space, .len = w.len, .expect = 0 };
        store_txn(k->store, &op, 1, true, on_made, m);
}

void keys_make(struct keys *k, const char *name, enum key_role role, uint64_t ttl_ms, key_made_fn *done, void *ctx)
{
        struct making *m = calloc(1, sizeof(*m));
        struct key *key = m ? add(k) : NULL;
        struct err e;

        if (!key || !make_text(&m->info, m->text) || !digest_of(m->text, key->digest)) {
                k->count -= key != NULL;
                free(m);
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "no key can be made: out of memory, or there are %d already", KEYS_MAX);
                done(ctx, NULL, NULL, &e);
                return;
        }
        snprintf(m->info.name, sizeof(m->info.name), "%s", name);
        m->info.role = role;
        m->info.created_ms = time_wall_ms();
        m->info.expires_ms = ttl_ms ? m->info.created_ms + ttl_ms : 0;
        m->keys = k;
        m->done = done;
        m->ctx = ctx;
        key->info = m->info;
        save(k, key, m);
}

struct revoking {
        key_done_fn *done;
        void *ctx;
};

static void on_revoked(void *ctx, bool lost, uint64_t revision, const struct err *e)
{
        struct revoking *r = ctx;

        (void)lost;
        (void)revision;
        r->done(r->ctx, e);
        free(r);
}

void keys_revoke(struct keys *k, const char *id, key_done_fn *done, void *ctx)
{
        struct revoking *r = malloc(sizeof(*r));
        char at[32];
        struct err e;
        int i = 0;

        while (i < k->count && strcmp(k->list[i].info.id, id) != 0)
                i++;
        if (i == k->count)
                err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "no API key '%.16s'", id);
        else if (k->list[i].fixed)
                err_set(&e, ERR_INVALID_SPEC, 0, "API key '%.16s' is in the config file; it is revoked there", id);
        else if (!r)
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (i == k->count || k->list[i].fixed || !r) {
                free(r);
                done(ctx, &e);
                return;
        }
        forget(k, id);
        *r = (struct revoking){ done, ctx };
        store_key(id, at);
        const struct store_op op = { .key = at, .expect = STORE_ANY };
        store_txn(k->store, &op, 1, true, on_revoked, r);
}

/* ---- checking ---- */

int keys_check(struct keys *k, const char *text, struct principal *out, struct err *e)
{
        uint8_t digest[DIGEST];
        uint64_t now = time_wall_ms();

        if (strlen(text) < 512 && digest_of(text, digest))
                for (int i = 0; i < k->count; i++) {
                        struct key *key = &k->list[i];

                        if (CRYPTO_memcmp(key->digest, digest, DIGEST) != 0)
                                continue;
                        if (key->info.expires_ms && now >= key->info.expires_ms) {
                                err_set(e, ERR_UNAUTHENTICATED, 0, "API key %s has expired", key->info.id);
                                return err_hint(e, "ask for a new one: creto-runtime keys create");
                        }
                        key->info.used_ms = now;
                        out->role = key->info.role;
                        snprintf(out->name, sizeof(out->name), "key:%s", key->info.id);
                        return 0;
                }
        err_set(e, ERR_UNAUTHENTICATED, 0, "the credential is none that is known");
        return err_hint(e, "it may have been revoked; 'creto-runtime keys list' shows those that are good");
}

int keys_count(const struct keys *k)
{
        return k->count;
}

const struct key_info *keys_at(const struct keys *k, int i)
{
        return i < k->count ? &k->list[i].info : NULL;
}
