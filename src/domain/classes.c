#include "domain/classes.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "domain/limits.h"
#include "domain/vmm.h"

#define SHIM_RUNC "containerd-shim-runc-v2"
#define SHIM_KATA "containerd-shim-kata-v2"
#define KATA_CONFIG "/opt/kata/share/defaults/kata-containers/configuration-"

const char *const class_can_names[CLASS_CANS] = { "killOne", "countAttacks", "hostKernel", "changeLimits", "embed", "checkpoint", "gpu" };

#define ALL_CANS ((1U << CAN_CHECKPOINT) - 1)

static const struct {
        const char *name;
        const char *isolation;
        uint32_t lacks, can;
        const char *old[2], *own[6]; /* options of ours, before the command: an old release's, or a newer one's first */
        const char *user;            /* and where an ordinary user calls it */
} engines[CLASS_ENGINES] = {
        [ENGINE_NONE] = { "none", "namespaces, seccomp and Landlock on the host's kernel", 0, ALL_CANS, { NULL }, { NULL }, NULL },
        [ENGINE_OCI] = { "oci", "as its engine has it, seccomp and Landlock", 0, ALL_CANS, { NULL }, { NULL }, NULL },
        [ENGINE_CRUN] = { "crun",
                          "namespaces, seccomp and Landlock on the host's kernel",
                          0,
                          ALL_CANS,
                          { NULL },
                          { "--cgroup-manager=disabled" },
                          NULL },
        [ENGINE_RUNC] = { "runc",
                          "namespaces, seccomp and Landlock on the host's kernel",
                          0,
                          ALL_CANS,
                          { NULL },
                          { "--rootless=true" },
                          NULL },
        /* Its processes are not the host's: how many there are is not to be limited there. */
        [ENGINE_GVISOR] = { "gvisor",
                            "a kernel of its own in user space (gVisor)",
                            1U << LIMIT_PIDS,
                            1U << CAN_CHANGE_LIMITS | 1U << CAN_EMBED,
                            { "--platform=ptrace", "--platform=systrap" },
                            { "--network=none", "--ignore-cgroups", "--host-uds=create", "--overlay2=none",
                              "--file-access-mounts=exclusive" },
                            "--rootless" },
        /* What it is depends on what is behind it. The shim's own threads are in the sandbox's group, where they would count as its processes. */
        [ENGINE_SHIM] = { "shim", "", 1U << LIMIT_PIDS, ALL_CANS, { NULL }, { NULL }, NULL },
        [ENGINE_KATA] = { "kata",
                          "a kernel of its own in a virtual machine (Kata Containers)",
                          1U << LIMIT_PIDS,
                          1U << CAN_EMBED,
                          { NULL },
                          { NULL },
                          NULL },
};

static const struct {
        const char *name;
        enum class_driver driver;
        enum class_engine engine;
        const char *binary, *behind;
} built_in[] = {
        { "native", CLASS_NATIVE, ENGINE_NONE, "", "" },
        { "crun", CLASS_OCI, ENGINE_CRUN, "crun", "" },
        { "runc", CLASS_OCI, ENGINE_RUNC, "runc", "" },
        { "gvisor", CLASS_OCI, ENGINE_GVISOR, "runsc", "" },
        { "containerd", CLASS_CONTAINERD, ENGINE_SHIM, SHIM_RUNC, "runc" },
        { "kata", CLASS_CONTAINERD, ENGINE_KATA, SHIM_KATA, "" },
        { "kata-qemu", CLASS_CONTAINERD, ENGINE_KATA, SHIM_KATA, KATA_CONFIG "qemu.toml" },
        { "kata-fc", CLASS_CONTAINERD, ENGINE_KATA, SHIM_KATA, KATA_CONFIG "fc.toml" },
        { "kata-clh", CLASS_CONTAINERD, ENGINE_KATA, SHIM_KATA, KATA_CONFIG "clh.toml" },
};

void classes_init(struct classes *c)
{
        *c = (struct classes){ .count = sizeof(built_in) / sizeof(built_in[0]) };
        for (unsigned i = 0; i < c->count; i++) {
                c->of[i].driver = built_in[i].driver;
                c->of[i].engine = built_in[i].engine;
                snprintf(c->of[i].name, sizeof(c->of[i].name), "%s", built_in[i].name);
                snprintf(c->of[i].binary, sizeof(c->of[i].binary), "%s", built_in[i].binary);
                snprintf(c->of[i].behind, sizeof(c->of[i].behind), "%s", built_in[i].behind);
        }
}

const struct runtime_class *classes_find(const struct classes *c, const char *name)
{
        for (unsigned i = 0; i < c->count; i++)
                if (strcmp(c->of[i].name, name) == 0)
                        return &c->of[i];
        return NULL;
}

/* What no shell and no list takes for something else. */
static bool is_word(const char *s)
{
        return s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:=+@%")] == '\0';
}

static bool is_program(const char *s)
{
        return s[0] && (s[0] == '/' || !strchr(s, '/')) && is_word(s);
}

static int check_engine(const struct runtime_class *class, struct err *e)
{
        bool shim = class->engine == ENGINE_SHIM || class->engine == ENGINE_KATA;

        if ((class->driver != CLASS_OCI && class->driver != CLASS_CONTAINERD) || class->engine == ENGINE_NONE ||
            class->engine >= CLASS_ENGINES)
                return err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s': its driver is \"oci\" or \"containerd\"", class->name);
        if (shim != class_has_shim(class))
                return err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s': engine \"%s\" is not of that driver", class->name,
                               engines[class->engine].name);
        if (!shim && class->behind[0])
                return err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s': runtime and config are for driver \"containerd\"", class->name);
        if (class->engine == ENGINE_SHIM && !is_program(class->behind))
                return err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s': runtime is the program that the shim calls, as binary",
                               class->name);
        if (class->engine == ENGINE_KATA && class->behind[0] && (class->behind[0] != '/' || !is_word(class->behind)))
                return err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s': config is the absolute path of Kata's configuration file",
                               class->name);
        return 0;
}

static int check(const struct runtime_class *class, struct err *e)
{
        if (!str_is_id(class->name, CLASS_NAME_MAX) || strcmp(class->name, "native") == 0 || strcmp(class->name, "auto") == 0 ||
            vmm_is_class(class->name))
                return err_set(
                        e, ERR_INVALID_SPEC, 0,
                        "'%s' is no name for a runtime class: 1 to %d of a-z, 0-9 and -, not native, auto, or one of virtual machines",
                        class->name, CLASS_NAME_MAX);
        if (check_engine(class, e) < 0)
                return -(int)e->code;
        if (!is_program(class->binary))
                return err_set(e, ERR_INVALID_SPEC, 0,
                               "runtime class '%s': binary is an absolute path, or a name, of letters, digits and -_./:=+@%%", class->name);
        for (unsigned i = 0; i < class->option_count; i++)
                if (class->options[i][0] != '-' || !is_word(class->options[i]) || str_has_prefix(class->options[i], "--root=") ||
                    strcmp(class->options[i], "--root") == 0)
                        return err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s': '%s' is no option that can be given here", class->name,
                                       class->options[i]);
        for (unsigned i = 0; i < class->require_count; i++)
                if (class->requires[i][0] != '/')
                        return err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s': '%s' of requires is not an absolute path", class->name,
                                       class->requires[i]);
        return 0;
}

int classes_add(struct classes *c, const struct runtime_class *class, struct err *e)
{
        struct runtime_class *at = (struct runtime_class *)(uintptr_t)classes_find(c, class->name);

        if (check(class, e) < 0)
                return -(int)e->code;
        if (!at && c->count == CLASSES_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "there are at most %d runtime classes", CLASSES_MAX);
        if (!at)
                at = &c->of[c->count++];
        *at = *class;
        return 0;
}

void class_complete(struct runtime_class *class)
{
        if (class_has_shim(class) && !class->binary[0])
                snprintf(class->binary, sizeof(class->binary), "%s", SHIM_RUNC);
        if (class->engine == ENGINE_OCI)
                class->engine = class_engine_at(class->binary);
        if (class_has_shim(class) && class->engine == ENGINE_OCI)
                class->engine = ENGINE_SHIM;
        if (class->engine == ENGINE_SHIM && !class->behind[0])
                snprintf(class->behind, sizeof(class->behind), "runc");
}

bool class_is_built_in(const struct runtime_class *class)
{
        struct classes all;

        classes_init(&all);
        const struct runtime_class *same = classes_find(&all, class->name);
        return same && memcmp(same, class, sizeof(*class)) == 0;
}

/* ---- one line ---- */

void class_format(const struct runtime_class *class, char out[CLASS_TEXT_MAX])
{
        int n = snprintf(out, CLASS_TEXT_MAX, "%s,%s,%s", class->name, engines[class->engine].name, class->binary);

        if (class_has_shim(class))
                n += snprintf(out + n, (size_t)(CLASS_TEXT_MAX - n), ",%s", class->behind[0] ? class->behind : "-");
        for (unsigned i = 0; i < class->option_count; i++)
                n += snprintf(out + n, (size_t)(CLASS_TEXT_MAX - n), ",%s", class->options[i]);
}

/* The next word, of at most `cap` - 1 bytes; false where there is none, or it is longer. */
static bool word(const char **at, char *out, size_t cap)
{
        size_t len = strcspn(*at, ",");

        if (len == 0 || len >= cap || ((*at)[len] == ',' && (*at)[len + 1] == '\0'))
                return false;
        memcpy(out, *at, len);
        out[len] = '\0';
        *at += len + ((*at)[len] == ',');
        return true;
}

bool class_parse(const char *text, struct runtime_class *class)
{
        char engine[16];

        *class = (struct runtime_class){ .driver = CLASS_OCI };
        if (!word(&text, class->name, sizeof(class->name)) || !word(&text, engine, sizeof(engine)) ||
            !word(&text, class->binary, sizeof(class->binary)))
                return false;
        class->engine = class_engine_of(engine);
        if (class->engine == ENGINE_SHIM || class->engine == ENGINE_KATA) {
                class->driver = CLASS_CONTAINERD;
                if (!word(&text, class->behind, sizeof(class->behind)))
                        return false;
                if (strcmp(class->behind, "-") == 0)
                        class->behind[0] = '\0';
        }
        while (*text)
                if (class->option_count == CLASS_OPTIONS_MAX || !word(&text, class->options[class->option_count++], CLASS_OPTION_MAX + 1))
                        return false;
        return class->engine < CLASS_ENGINES;
}

bool class_place(const char *binary, unsigned i, char *out, size_t cap)
{
        static const char *const dirs[] = { "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin" };

        if (binary[0] == '/')
                return i == 0 && snprintf(out, cap, "%s", binary) < (int)cap;
        return i < sizeof(dirs) / sizeof(dirs[0]) && snprintf(out, cap, "%s/%s", dirs[i], binary) < (int)cap;
}

enum class_engine class_engine_of(const char *name)
{
        unsigned i = ENGINE_OCI;

        while (i < CLASS_ENGINES && strcmp(engines[i].name, name) != 0)
                i++;
        return (enum class_engine)i;
}

uint32_t class_lacks(const struct runtime_class *class)
{
        return engines[class->engine].lacks | engines[class_maker(class)].lacks;
}

enum class_engine class_engine_at(const char *binary)
{
        const char *slash = strrchr(binary, '/'), *name = slash ? slash + 1 : binary;

        for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++)
                if (built_in[i].driver != CLASS_NATIVE && strcmp(built_in[i].binary, name) == 0)
                        return built_in[i].engine;
        return ENGINE_OCI;
}

enum class_engine class_maker(const struct runtime_class *class)
{
        return class->engine == ENGINE_SHIM ? class_engine_at(class->behind) : class->engine;
}

void class_describe(const struct runtime_class *class, uint32_t limits, const char *version, const struct err *why, struct ipc_class *out)
{
        *out = (struct ipc_class){ .available = !why,
                                   .limits = limits & ~class_lacks(class),
                                   .can = engines[class->engine].can & engines[class_maker(class)].can };
        snprintf(out->name, sizeof(out->name), "%s", class->name);
        snprintf(out->driver, sizeof(out->driver), "%s",
                 class->driver == CLASS_NATIVE ? "native"
                 : class_has_shim(class)       ? "containerd"
                                               : "oci");
        snprintf(out->engine, sizeof(out->engine), "%s", engines[class->engine].name);
        snprintf(out->binary, sizeof(out->binary), "%s", class->binary);
        snprintf(out->version, sizeof(out->version), "%s", version);
        snprintf(out->isolation, sizeof(out->isolation), "%s", engines[class_maker(class)].isolation);
        snprintf(out->reason, sizeof(out->reason), "%.*s", IPC_CLASS_TEXT_MAX, why ? why->msg : "");
        snprintf(out->hint, sizeof(out->hint), "%.*s", IPC_CLASS_TEXT_MAX, why ? why->hint : "");
}

/* Measured (docs/runtimes.md). Where the host's kernel answers, what counts is our filter; `version` is what the engine's must contain. */
static const struct {
        const char *engine, *version;
        unsigned count;
} counted[] = {
        { "none", "", 284 },           { "crun", "", 284 },           { "runc", "", 284 },
        { "gvisor", "20221219", 266 }, { "gvisor", "20240729", 266 }, { "qemu", "Linux 6.1.", 324 },
};

unsigned class_syscalls(const char *engine, const char *version)
{
        for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
                if (strcmp(engine, counted[i].engine) == 0 && strstr(version, counted[i].version))
                        return counted[i].count;
        return 0;
}

#define SAYS(what) "runtime.NAME." what " of /etc/creto-runtime/config.toml says where the "

const char *class_hint(const struct runtime_class *class, const char *binary)
{
        static const struct {
                const char *install, *elsewhere; /* where the configuration has a path: what else there is */
        } hints[CLASS_ENGINES] = {
                [ENGINE_CRUN] = { "apt-get install crun", SAYS("binary") "engine is; apt-get install crun puts one into /usr/bin" },
                [ENGINE_RUNC] = { "apt-get install runc", SAYS("binary") "engine is; apt-get install runc puts one into /usr/sbin" },
                [ENGINE_GVISOR] = { "apt-get install runsc; in Debian 12 better: apt-get install -t bookworm-backports runsc",
                                    SAYS("binary") "engine is; apt-get install runsc puts one into /usr/bin" },
                [ENGINE_SHIM] = { "apt-get install containerd; its service is not needed: systemctl disable --now containerd", NULL },
                [ENGINE_KATA] = { "install Kata Containers 3 (katacontainers.io; Debian has no package of it)", NULL },
        };
        bool own = binary == class->binary;
        enum class_engine engine = own ? class->engine : class_maker(class);

        if (binary[0] != '/')
                return hints[engine].install ? hints[engine].install : "";
        if (!own)
                return SAYS("runtime") "OCI runtime is";
        return hints[engine].elsewhere ? hints[engine].elsewhere : SAYS("binary") "engine is";
}

const char *class_version_arg(const struct runtime_class *class)
{
        return class->engine == ENGINE_SHIM ? "-v" : "--version";
}

/* ---- calls ---- */

struct args {
        const char **argv;
        unsigned n;
};

static void add(struct args *a, const char *arg)
{
        if (arg && a->n + 1 < CLASS_ARGS_MAX)
                a->argv[a->n++] = arg;
        a->argv[a->n] = NULL;
}

static const char *engine_name(const struct runtime_class *class)
{
        const char *slash = strrchr(class->binary, '/');

        return slash ? slash + 1 : class->binary;
}

/* What an OCI runtime is called with, before its command. */
static void add_options(struct args *a, const struct runtime_class *class, bool old, bool user)
{
        enum class_engine engine = class_maker(class);

        add(a, engines[engine].old[old ? 0 : 1]);
        for (size_t i = 0; i < sizeof(engines[0].own) / sizeof(engines[0].own[0]); i++)
                add(a, engines[engine].own[i]);
        if (user)
                add(a, engines[engine].user);
        for (unsigned i = 0; i < class->option_count; i++)
                add(a, class->options[i]);
}

static void start_shim_argv(struct args *a, const char *id)
{
        static const char *const words[] = { "-namespace", "creto", "-address", "/tmp/none", "-publish-binary", "/bin/true" };

        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                add(a, words[i]);
        add(a, "-id");
        add(a, id);
        add(a, "start");
}

void class_run_argv(const struct runtime_class *class, const char *id, unsigned fds, bool old, bool user, const char *argv[CLASS_ARGS_MAX])
{
        static const char *const counts[] = { "0", "1", "2", "3", "4" };
        static const char *const run[] = { "run", "--detach", "--bundle", "/tmp", "--pid-file", "/tmp/pid" };
        struct args a = { argv, 0 };

        add(&a, engine_name(class));
        if (class_has_shim(class)) {
                start_shim_argv(&a, id);
                return;
        }
        add(&a, "--root");
        add(&a, "/tmp/state");
        add_options(&a, class, old, user);
        for (size_t i = 0; i < sizeof(run) / sizeof(run[0]); i++)
                add(&a, run[i]);
        if (fds > 0 && fds < sizeof(counts) / sizeof(counts[0])) {
                add(&a, "--preserve-fds");
                add(&a, counts[fds]);
        }
        add(&a, id);
}

bool class_probe_argv(const struct runtime_class *class, const char *argv[CLASS_ARGS_MAX])
{
        struct args a = { argv, 0 };

        const char *newer = engines[class_maker(class)].old[1];

        if (!newer)
                return false;
        add(&a, engine_name(class));
        add(&a, newer);
        add(&a, "--root=/proc"); /* nobody's state is there */
        add(&a, "list");
        return true;
}

/* ---- shims ---- */

const char *class_runtime(const struct runtime_class *class)
{
        return class->engine == ENGINE_SHIM ? class->behind : NULL;
}

size_t class_runtime_script(const struct runtime_class *class, const char *runtime, bool old, char out[CLASS_TEXT_MAX])
{
        const char *options[CLASS_ARGS_MAX] = { NULL };
        struct args a = { options, 0 };
        int n = snprintf(out, CLASS_TEXT_MAX, "#!/bin/sh\nexec %s", runtime);

        if (!runtime[0])
                return 0;
        add_options(&a, class, old, false);
        for (unsigned i = 0; i < a.n; i++)
                n += snprintf(out + n, (size_t)(CLASS_TEXT_MAX - n), " %s", options[i]);
        return (size_t)(n + snprintf(out + n, (size_t)(CLASS_TEXT_MAX - n), " \"$@\"\n"));
}

void class_shim_argv(const struct runtime_class *class, const char *id, const char *argv[CLASS_ARGS_MAX])
{
        struct args a = { argv, 0 };
        bool kata = class->engine == ENGINE_KATA;

        add(&a, "creto-shim");
        add(&a, id);
        if (kata && !class->behind[0])
                return;
        add(&a, kata ? "runtimeoptions.v1.Options" : "containerd.runc.v1.Options");
        add(&a, kata ? "2" : "6"); /* config_path, binary_name */
        add(&a, kata ? class->behind : "/tmp/engine");
}
