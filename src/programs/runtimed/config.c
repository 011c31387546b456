#include "programs/runtimed/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "wire/toml.h"

#define DEFAULT_FILE "/etc/creto-runtime/config.toml"
#define MIB (1024ULL * 1024)

const char config_usage[] = "Usage: creto-runtimed [--config FILE] [--state-dir DIR] [--run-dir DIR] [--listen ADDR:PORT] [--socket PATH]\n"
                            "                      [--no-auth-on-loopback] [--user NAME] [--default-runtime-class CLASS]\n"
                            "\n"
                            "Starts the service in the foreground, as root; it prints one line when it is ready.\n"
                            "--warden-arguments prints what the file says to creto-warden, and nothing else.\n";

static void set_defaults(struct config *c)
{
        *c = (struct config){ .file = DEFAULT_FILE,
                              .state_dir = "/var/lib/creto-runtime",
                              .run_dir = "/run/creto-runtime",
                              .listen = "127.0.0.1:8080",
                              .file_fd = -1,
                              .tls_cert_fd = -1,
                              .tls_key_fd = -1,
                              .jwks_fd = -1,
                              .jwt_role_claim = "role",
                              .drain_seconds = 5,
                              .prepared = 4,
                              .qemu_boot_seconds = 60,
                              .max_connections = 12000,
                              .max_execs = 128,
                              .burst = 100,
                              .max_body = 2 * MIB,
                              .ended_keep_seconds = 86400,
                              .log_level = LOG_INFO,
                              .default_class = CLASS_AUTO };
        c->rules = (struct admission_rules){ .max_sandboxes = 10000,
                                             .memory_overcommit = 20,
                                             .pids_overcommit = 20,
                                             .disk_overcommit = 20,
                                             .min_free_memory = 256 * MIB,
                                             .min_free_disk = 512 * MIB };
        for (unsigned i = 0; i < VMMS; i++)
                snprintf(c->vmms[i].binary, sizeof(c->vmms[i].binary), "%s", vmm_table[i].binary);
        spec_init(&c->defaults);
        classes_init(&c->classes);
        choice_policy_init(&c->choice);
}

/* ---- the file ---- */

enum kind { TEXT, SWITCH, COUNT, RATIO, SIZE, SPECIAL };

struct entry {
        const char *table, *key;
        enum kind kind;
        size_t at, cap; /* cap: of a text; else the greatest value */
        const char *(*set)(struct config *c, const struct entry *n, const struct toml_value *v); /* SPECIAL */
};

static const char *set_on_stop(struct config *c, const struct entry *n, const struct toml_value *v)
{
        (void)n;
        if (v->type != TOML_STRING || (strcmp(v->string, "keep") != 0 && strcmp(v->string, "terminate") != 0))
                return "must be \"keep\" or \"terminate\"";
        c->keep_on_stop = *v->string == 'k';
        return NULL;
}

static const char *set_format(struct config *c, const struct entry *n, const struct toml_value *v)
{
        (void)n;
        if (v->type != TOML_STRING || (strcmp(v->string, "json") != 0 && strcmp(v->string, "logfmt") != 0))
                return "must be \"logfmt\" or \"json\"";
        c->log_json = *v->string == 'j';
        return NULL;
}

static const char *set_level(struct config *c, const struct entry *n, const struct toml_value *v)
{
        static const char *const names[] = { [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug" };

        (void)n;
        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (v->type == TOML_STRING && names[i] && strcmp(v->string, names[i]) == 0) {
                        c->log_level = (enum log_level)i;
                        return NULL;
                }
        return "must be \"error\", \"warning\", \"info\" or \"debug\"";
}

static const char *set_list(struct config *c, const struct entry *n, const struct toml_value *v)
{
        unsigned *count = strcmp(n->key, "keys") == 0 ? &c->key_count : &c->socket_role_count;

        if (v->type != TOML_STRINGS || v->count > CONFIG_LIST_MAX)
                return "must be an array of at most 64 strings";
        for (size_t i = 0; i < v->count; i++)
                if (snprintf((char *)c + n->at + i * n->cap, n->cap, "%s", v->items[i]) >= (int)n->cap)
                        return "holds a string that is too long";
        *count = (unsigned)v->count;
        return NULL;
}

/* One option of the command line, by its rules: strings that it keeps are kept here. */
static const char *set_default(struct config *c, const struct entry *n, const struct toml_value *v)
{
        static char why[200];
        char text[64];
        const char *value = v->string;
        struct err e;

        if (v->type == TOML_INTEGER || v->type == TOML_FLOAT) {
                snprintf(text, sizeof(text), v->type == TOML_INTEGER ? "%.0f" : "%g", v->number);
                value = text;
        } else if (v->type != TOML_STRING) {
                return "must be a string or a number";
        }
        if (n->cap > 1) {
                if (snprintf((char *)c + n->at, n->cap, "%s", value) >= (int)n->cap)
                        return "is too long";
                value = (char *)c + n->at;
        }
        if (spec_set(&c->defaults, n->key, value, &e) == 0)
                return NULL;
        snprintf(why, sizeof(why), "%.190s", e.msg);
        return why;
}

static const char *set_trust(struct config *c, const struct entry *n, const struct toml_value *v)
{
        char *out = c->choice.trust[trust_of(n->key)];

        if (v->type != TOML_STRING || !str_is_id(v->string, CLASS_NAME_MAX) || strcmp(v->string, CLASS_AUTO) == 0)
                return "must be the name of a runtime class, or \"none\"";
        snprintf(out, CLASS_NAME_MAX + 1, "%s", strcmp(v->string, "none") == 0 ? "" : v->string);
        return NULL;
}

static const char *set_fallback(struct config *c, const struct entry *n, const struct toml_value *v)
{
        (void)n;
        if (v->type != TOML_STRINGS || v->count > CHOICE_FALLBACK_MAX)
                return "must be an array of at most 8 runtime classes";
        c->choice.fallback_count = (unsigned)v->count;
        for (size_t i = 0; i < v->count; i++) {
                if (!str_is_id(v->items[i], CLASS_NAME_MAX) || strcmp(v->items[i], CLASS_AUTO) == 0)
                        return "holds what is no name of a runtime class";
                snprintf(c->choice.fallback[i], sizeof(c->choice.fallback[i]), "%s", v->items[i]);
        }
        return NULL;
}

static const char *set_time(struct config *c, const struct entry *n, const struct toml_value *v)
{
        uint64_t ms;

        if (v->type != TOML_STRING || !str_parse_ms(v->string, &ms) || ms > UINT32_MAX)
                return "must be a time like \"90s\", \"10m\" or \"1h\"";
        memcpy((char *)c + n->at, &ms, sizeof(ms));
        return NULL;
}

#define AT(field) offsetof(struct config, field)
#define TEXT_AT(table, key, field)                                                                                                         \
        {                                                                                                                                  \
                table, key, TEXT, AT(field), sizeof(((struct config *)0)->field), NULL                                                     \
        }
#define LIST_AT(table, key, field)                                                                                                         \
        {                                                                                                                                  \
                table, key, SPECIAL, AT(field), sizeof(((struct config *)0)->field[0]), set_list                                           \
        }
#define DEFAULT(key)                                                                                                                       \
        {                                                                                                                                  \
                "defaults", key, SPECIAL, 0, 0, set_default                                                                                \
        }

/* deploy/config.toml documents each. */
static const struct entry entries[] = {
        TEXT_AT("server", "listen", listen),
        TEXT_AT("server", "socket", socket),
        TEXT_AT("server", "socket_group", socket_group),
        TEXT_AT("server", "user", user),
        TEXT_AT("server", "tls_certificate", tls_cert),
        TEXT_AT("server", "tls_key", tls_key),
        { "server", "max_connections", COUNT, AT(max_connections), 1000000, NULL },
        { "server", "max_body", SIZE, AT(max_body), 64 * MIB, NULL },
        TEXT_AT("paths", "state_dir", state_dir),
        TEXT_AT("paths", "run_dir", run_dir),
        TEXT_AT("runtime", "default_runtime_class", default_class),
        { "runtime", "fallback", SPECIAL, 0, 0, set_fallback },
        { "trust", "trusted", SPECIAL, 0, 0, set_trust },
        { "trust", "standard", SPECIAL, 0, 0, set_trust },
        { "trust", "untrusted", SPECIAL, 0, 0, set_trust },
        { "trust", "confidential", SPECIAL, 0, 0, set_trust },
        TEXT_AT("qemu", "binary", vmms[VMM_QEMU].binary),
        TEXT_AT("qemu", "kernel", qemu_kernel),
        { "qemu", "boot_seconds", COUNT, AT(qemu_boot_seconds), 3600, NULL },
        { "service", "on_stop", SPECIAL, 0, 0, set_on_stop },
        { "service", "drain_seconds", COUNT, AT(drain_seconds), 86400, NULL },
        { "service", "prepared", COUNT, AT(prepared), 64, NULL },
        { "service", "ended_keep_seconds", COUNT, AT(ended_keep_seconds), 30 * 86400, NULL },
        { "limits", "max_sandboxes", COUNT, AT(rules.max_sandboxes), 1000000, NULL },
        { "limits", "max_sandboxes_per_key", COUNT, AT(rules.max_per_owner), 1000000, NULL },
        { "limits", "max_execs", COUNT, AT(max_execs), 10000, NULL },
        { "limits", "memory_overcommit", RATIO, AT(rules.memory_overcommit), 100000, NULL },
        { "limits", "pids_overcommit", RATIO, AT(rules.pids_overcommit), 100000, NULL },
        { "limits", "disk_overcommit", RATIO, AT(rules.disk_overcommit), 100000, NULL },
        { "limits", "min_free_memory", SIZE, AT(rules.min_free_memory), 0, NULL },
        { "limits", "min_free_disk", SIZE, AT(rules.min_free_disk), 0, NULL },
        { "limits", "requests_per_second", RATIO, AT(requests_per_second), 1000000, NULL },
        { "limits", "burst", COUNT, AT(burst), 1000000, NULL },
        { "defaults", "image", SPECIAL, AT(default_image), CONFIG_PATH_MAX, set_default },
        { "defaults", "user", SPECIAL, AT(default_user), CONFIG_TEXT_MAX, set_default },
        DEFAULT("memory"),
        DEFAULT("memory-swap"),
        DEFAULT("cpu"),
        DEFAULT("pids"),
        DEFAULT("disk"),
        DEFAULT("disk-inodes"),
        DEFAULT("nofile"),
        DEFAULT("core"),
        DEFAULT("output-rate"),
        { "defaults", "ttl", SPECIAL, AT(defaults.ttl_ms), 0, set_time },
        { "defaults", "idle-timeout", SPECIAL, AT(defaults.idle_ms), 0, set_time },
        { "auth", "no_auth_on_loopback", SWITCH, AT(no_auth_on_loopback), 0, NULL },
        LIST_AT("auth", "socket_roles", socket_roles),
        TEXT_AT("auth", "jwks_file", jwks),
        TEXT_AT("auth", "jwt_issuer", jwt_issuer),
        TEXT_AT("auth", "jwt_audience", jwt_audience),
        TEXT_AT("auth", "jwt_role_claim", jwt_role_claim),
        LIST_AT("auth", "keys", keys),
        { "telemetry", "log_format", SPECIAL, 0, 0, set_format },
        { "telemetry", "log_level", SPECIAL, 0, 0, set_level },
};

static const char *set_number(struct config *c, const struct entry *n, const struct toml_value *v)
{
        static char why[96];
        void *at = (char *)c + n->at;
        uint64_t bytes;

        if (n->kind == SIZE && v->type == TOML_STRING && str_parse_bytes(v->string, &bytes) && (n->cap == 0 || bytes <= n->cap)) {
                memcpy(at, &bytes, sizeof(bytes));
                return NULL;
        }
        if ((v->type == TOML_INTEGER || (v->type == TOML_FLOAT && n->kind == RATIO)) && v->number >= 0 &&
            (n->cap == 0 || v->number <= (double)n->cap)) {
                if (n->kind == COUNT)
                        *(unsigned *)at = (unsigned)v->integer;
                else if (n->kind == RATIO)
                        *(double *)at = v->number;
                else
                        *(uint64_t *)at = (uint64_t)v->integer;
                return NULL;
        }
        snprintf(why, sizeof(why), n->kind == SIZE ? "must be a size like \"512M\"" : "must be a%s number from 0 to %zu",
                 n->kind == RATIO ? "" : " whole", n->cap);
        return why;
}

static const char *set_entry(struct config *c, const struct entry *n, const struct toml_value *v)
{
        if (n->kind == SPECIAL)
                return n->set(c, n, v);
        if (n->kind == SWITCH && v->type == TOML_BOOLEAN) {
                *((bool *)((char *)c + n->at)) = v->boolean;
                return NULL;
        }
        if (n->kind == SWITCH)
                return "must be true or false";
        if (n->kind != TEXT)
                return set_number(c, n, v);
        if (v->type != TOML_STRING)
                return "must be a string";
        return snprintf((char *)c + n->at, n->cap, "%s", v->string) < (int)n->cap ? NULL : "is too long";
}

/* An array of at most `max` strings, each in `cap` bytes. */
static const char *set_words(const struct toml_value *v, char *out, size_t cap, size_t max, unsigned *count)
{
        static char why[64];

        snprintf(why, sizeof(why), "must be an array of at most %zu strings", max);
        if (v->type != TOML_STRINGS || v->count > max)
                return why;
        *count = (unsigned)v->count;
        for (size_t i = 0; i < v->count; i++)
                if (snprintf(out + i * cap, cap, "%s", v->items[i]) >= (int)cap)
                        return "holds a string that is too long";
        return NULL;
}

static const char *set_driver(struct runtime_class *class, const struct toml_value *v)
{
        if (v->type == TOML_STRING && strcmp(v->string, "oci") == 0)
                class->driver = CLASS_OCI;
        else if (v->type == TOML_STRING && strcmp(v->string, "containerd") == 0)
                class->driver = CLASS_CONTAINERD;
        else
                return "must be \"oci\" or \"containerd\"";
        return NULL;
}

static const char *set_path(char out[CLASS_BINARY_MAX + 1], const struct toml_value *v)
{
        return v->type == TOML_STRING && snprintf(out, CLASS_BINARY_MAX + 1, "%s", v->string) <= CLASS_BINARY_MAX
                       ? NULL
                       : "must be a path of at most 255 bytes";
}

/* Of a class of virtual machines. */
static const char *set_vmm(struct config_vmm *vmm, const char *key, const struct toml_value *v)
{
        if (strcmp(key, "accel") == 0) {
                vmm->kvm = v->type == TOML_STRING && strcmp(v->string, "kvm") == 0;
                return vmm->kvm || (v->type == TOML_STRING && strcmp(v->string, "tcg") == 0) ? NULL : "must be \"tcg\" or \"kvm\"";
        }
        if (strcmp(key, "binary") != 0)
                return "is no setting";
        return v->type == TOML_STRING && str_has_prefix(v->string, "/usr/") &&
                               snprintf(vmm->binary, sizeof(vmm->binary), "%s", v->string) < (int)sizeof(vmm->binary)
                       ? NULL
                       : "must be a path in /usr: that is what the sandbox around a machine has";
}

/* [runtime.NAME]: keys come one by one, and a class is judged when the file has been read. */
static const char *set_runtime(struct config *c, const char *name, const char *key, const struct toml_value *v)
{
        struct runtime_class *class = (struct runtime_class *)(uintptr_t)classes_find(&c->classes, name);

        if (vmm_is_class(name))
                return set_vmm(&c->vmms[vmm_of(name)], key, v);
        if (!class && c->classes.count == CLASSES_MAX)
                return "is one class too many: there are at most 32";
        if (!class) {
                class = &c->classes.of[c->classes.count++];
                *class = (struct runtime_class){ .driver = CLASS_OCI, .engine = ENGINE_OCI };
                snprintf(class->name, sizeof(class->name), "%.*s", CLASS_NAME_MAX, name);
        }
        if (strcmp(key, "driver") == 0)
                return set_driver(class, v);
        if (strcmp(key, "engine") == 0) {
                class->engine = v->type == TOML_STRING ? class_engine_of(v->string) : CLASS_ENGINES;
                return class->engine < CLASS_ENGINES ? NULL : "must be \"oci\", \"crun\", \"runc\", \"gvisor\", \"shim\" or \"kata\"";
        }
        if (strcmp(key, "binary") == 0)
                return set_path(class->binary, v);
        if (strcmp(key, "runtime") == 0 || strcmp(key, "config") == 0) /* of a shim; its driver may be said later */
                return set_path(class->behind, v);
        if (strcmp(key, "overhead") == 0)
                return v->type == TOML_STRING && str_parse_bytes(v->string, &class->overhead) && class->overhead <= CLASS_OVERHEAD_MAX
                               ? NULL
                               : "must be a size like \"20M\", of at most 1T";
        if (strcmp(key, "requires") == 0)
                return set_words(v, class->requires[0], sizeof(class->requires[0]), CLASS_REQUIRES_MAX, &class->require_count);
        if (strcmp(key, "options") == 0)
                return set_words(v, class->options[0], sizeof(class->options[0]), CLASS_OPTIONS_MAX, &class->option_count);
        return "is no setting";
}

static bool class_is_known(const struct classes *c, const char *name)
{
        return classes_find(c, name) || vmm_is_class(name);
}

bool config_kvm(const struct config *c)
{
        for (unsigned i = 0; i < VMMS; i++)
                if (c->vmms[i].kvm)
                        return true;
        return false;
}

static int check_classes(struct config *c, struct err *e)
{
        struct classes checked;

        classes_init(&checked);
        for (unsigned i = 0; i < c->classes.count; i++) {
                class_complete(&c->classes.of[i]);
                if (!class_is_built_in(&c->classes.of[i]) && classes_add(&checked, &c->classes.of[i], e) < 0)
                        return err_hint(e, "[runtime.NAME] of the configuration: driver = \"oci\", binary = \"/usr/bin/youki\"");
        }
        return 0;
}

/* The names that decide where something runs are of classes that there are; those of trust levels may be of one that is not there, and nothing runs then. */
static int check_choice(struct config *c, struct err *e)
{
        static const char hint[] = "[runtime] of the configuration, or --default-runtime-class; [runtime.NAME] adds a class";

        if (strcmp(c->default_class, CLASS_AUTO) != 0 && !class_is_known(&c->classes, c->default_class)) {
                err_set(e, ERR_INVALID_SPEC, 0, "runtime.default_runtime_class: there is no runtime class '%s'", c->default_class);
                return err_hint(e, hint);
        }
        for (unsigned i = 0; i < c->choice.fallback_count; i++)
                if (!class_is_known(&c->classes, c->choice.fallback[i])) {
                        err_set(e, ERR_INVALID_SPEC, 0, "runtime.fallback: there is no runtime class '%s'", c->choice.fallback[i]);
                        return err_hint(e, hint);
                }
        snprintf(c->choice.normal, sizeof(c->choice.normal), "%s", c->default_class);
        return 0;
}

static const char *take_entry(void *ctx, const char *table, const char *key, const struct toml_value *v)
{
        static char why[320];
        const char *reason = "is no setting";

        for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
                if (strcmp(entries[i].table, table) == 0 && strcmp(entries[i].key, key) == 0)
                        reason = set_entry(ctx, &entries[i], v);
        if (str_has_prefix(table, "runtime."))
                reason = set_runtime(ctx, table + strlen("runtime."), key, v);
        if (!reason)
                return NULL;
        snprintf(why, sizeof(why), "%s%s%s %.200s", table, *table ? "." : "", key, reason);
        return why;
}

static int take_file(struct config *c, struct err *e)
{
        char *text = malloc(CONFIG_FILE_MAX + 1);
        struct toml_fault fault;
        struct stat st;
        ssize_t n;

        if (!text)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        n = pread(c->file_fd, text, CONFIG_FILE_MAX + 1, 0);
        if (n < 0 || fstat(c->file_fd, &st) < 0)
                err_sys(e, "cannot read '%.200s'", c->file);
        else if (n > CONFIG_FILE_MAX)
                err_set(e, ERR_INVALID_SPEC, 0, "'%.200s': more than %d KiB", c->file, CONFIG_FILE_MAX / 1024);
        else if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022))
                err_set(e, ERR_INVALID_SPEC, 0, "'%.200s': others than root may write to it", c->file);
        else if (toml_read(text, (size_t)n, take_entry, c, &fault) < 0)
                err_set(e, ERR_INVALID_SPEC, 0, "'%.200s', line %u: %s", c->file, fault.line, fault.why);
        else
                n = -1;
        free(text);
        if (n < 0 && e->code == ERR_NONE)
                return 0;
        err_hint(e, "every setting is in the file that came with it (deploy/config.toml)");
        return -(int)e->code;
}

static int set_text(char *out, size_t cap, const char *name, const char *value, struct err *e)
{
        if (snprintf(out, cap, "%s", value) < (int)cap)
                return 0;
        return err_set(e, ERR_INVALID_SPEC, 0, "%s: at most %zu bytes", name, cap - 1);
}

/* ---- the environment and the command line ---- */

struct option {
        const char *flag, *variable;
        size_t at, cap;
};

#define OPTION(flag, variable, field)                                                                                                      \
        {                                                                                                                                  \
                flag, variable, offsetof(struct config, field), sizeof(((struct config *)0)->field)                                        \
        }

static const struct option options[] = {
        OPTION("--config", "CRETO_RUNTIME_CONFIG", file),
        OPTION("--state-dir", "CRETO_RUNTIME_STATE_DIR", state_dir),
        OPTION("--run-dir", "CRETO_RUNTIME_RUN_DIR", run_dir),
        OPTION("--listen", "CRETO_RUNTIME_LISTEN", listen),
        OPTION("--socket", "CRETO_RUNTIME_SOCKET", socket),
        OPTION("--user", "CRETO_RUNTIME_USER", user),
        OPTION("--default-runtime-class", "CRETO_RUNTIME_DEFAULT_CLASS", default_class),
};

static int take_environment(struct config *c, struct err *e)
{
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
                const char *value = getenv(options[i].variable);

                if (value && set_text((char *)c + options[i].at, options[i].cap, options[i].variable, value, e) < 0)
                        return -(int)e->code;
        }
        return 0;
}

static int take_arguments(struct config *c, int argc, char **argv, struct err *e)
{
        for (int i = 1; i < argc; i++) {
                size_t k = 0;

                if (strcmp(argv[i], "--no-auth-on-loopback") == 0) {
                        c->no_auth_on_loopback = true;
                        continue;
                }
                if (strcmp(argv[i], "--warden-arguments") == 0) {
                        c->warden_arguments = true;
                        continue;
                }
                if (strcmp(argv[i], "--inherited") == 0) { /* from the monitor */
                        c->inherited = true;
                        continue;
                }
                while (k < sizeof(options) / sizeof(options[0]) && strcmp(options[k].flag, argv[i]) != 0)
                        k++;
                if (k == sizeof(options) / sizeof(options[0])) {
                        err_set(e, ERR_INVALID_SPEC, 0, "there is no option '%.64s'", argv[i]);
                        return err_hint(e, "creto-runtimed --help");
                }
                if (i + 1 == argc)
                        return err_set(e, ERR_INVALID_SPEC, 0, "%s needs a value", argv[i]);
                if (set_text((char *)c + options[k].at, options[k].cap, argv[i], argv[i + 1], e) < 0)
                        return -(int)e->code;
                i++;
        }
        return 0;
}

/* --config comes before all else. */
static int find_file(struct config *c, int argc, char **argv, struct err *e)
{
        const char *name = getenv("CRETO_RUNTIME_CONFIG");
        bool given = name != NULL;

        for (int i = 1; i + 1 < argc; i++)
                if (strcmp(argv[i], "--config") == 0) {
                        name = argv[i + 1];
                        given = true;
                }
        if (given && set_text(c->file, sizeof(c->file), "--config", name, e) < 0)
                return -(int)e->code;
        if (c->inherited)
                c->file_fd = fcntl(FD_CONFIG, F_GETFD) >= 0 ? FD_CONFIG : -1;
        else if (c->file[0])
                c->file_fd = open(c->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (c->file_fd < 0 && !c->inherited && c->file[0] && (given || errno != ENOENT))
                return err_set(e, ERR_INVALID_SPEC, errno, "cannot open '%.200s'", c->file);
        return c->file_fd >= 0 ? take_file(c, e) : 0;
}

static int open_named(const char *path, bool inherited, int inherited_fd, int *fd, struct err *e)
{
        if (!path[0])
                return 0;
        *fd = inherited ? inherited_fd : open(path, O_RDONLY | O_CLOEXEC);
        return *fd >= 0 ? 0 : err_set(e, ERR_INVALID_SPEC, errno, "cannot open '%.200s'", path);
}

static int check_config(struct config *c, struct err *e)
{
        if (c->state_dir[0] != '/' || c->run_dir[0] != '/')
                return err_set(e, ERR_INVALID_SPEC, 0, "--state-dir and --run-dir are absolute paths");
        if (!c->socket[0] && snprintf(c->socket, sizeof(c->socket), "%s/runtime.sock", c->run_dir) >= (int)sizeof(c->socket))
                return err_set(e, ERR_INVALID_SPEC, 0, "--run-dir: at most %d bytes", CONFIG_PATH_MAX - 20);
        if (snprintf(c->image_store, sizeof(c->image_store), "%s/images", c->state_dir) >= (int)sizeof(c->image_store))
                return err_set(e, ERR_INVALID_SPEC, 0, "--state-dir: at most %d bytes", CONFIG_PATH_MAX - 20);
        if (check_classes(c, e) < 0 || check_choice(c, e) < 0)
                return -(int)e->code;
        if (!c->tls_cert[0] != !c->tls_key[0])
                return err_set(e, ERR_INVALID_SPEC, 0, "server.tls_certificate and server.tls_key go together");
        return 0;
}

int config_read(struct config *c, int argc, char **argv, struct err *e)
{
        set_defaults(c);
        *e = (struct err){ 0 };
        for (int i = 1; i < argc; i++)
                c->inherited |= strcmp(argv[i], "--inherited") == 0;
        if (find_file(c, argc, argv, e) < 0 || take_environment(c, e) < 0 || take_arguments(c, argc, argv, e) < 0 ||
            check_config(c, e) < 0 || open_named(c->tls_cert, c->inherited, FD_TLS_CERT, &c->tls_cert_fd, e) < 0 ||
            open_named(c->tls_key, c->inherited, FD_TLS_KEY, &c->tls_key_fd, e) < 0 ||
            open_named(c->jwks, c->inherited, FD_JWKS, &c->jwks_fd, e) < 0)
                return -(int)e->code;
        return 0;
}
