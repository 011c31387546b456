#include "domain/spec.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "domain/vmm.h"

typedef int set_fn(struct spec *s, const char *name, const char *value, struct err *e);

void spec_init(struct spec *s)
{
        *s = (struct spec){ .image = "host", .runtime = CLASS_AUTO };
        limits_default(&s->limits);
}

/* ---- one function a kind of option ---- */

static int set_limit(struct spec *s, const char *name, const char *value, struct err *e)
{
        for (unsigned i = 0; i < LIMIT_COUNT; i++)
                if (strcmp(limit_table[i].flag, name) == 0)
                        return limits_set(&s->limits, (enum limit)i, value, e);
        return err_set(e, ERR_INTERNAL_ERROR, 0, "--%s is no limit", name);
}

static int set_image(struct spec *s, const char *name, const char *value, struct err *e)
{
        if (*value == '\0')
                return err_set(e, ERR_INVALID_SPEC, 0, "--%s: the reference is empty", name);
        if (strlen(value) > 4000)
                return err_set(e, ERR_INVALID_SPEC, 0, "--%s: a reference has at most 4000 bytes, not %zu", name, strlen(value));
        s->image = value;
        return 0;
}

/* Which classes there are is known to who makes sandboxes. */
static int set_runtime(struct spec *s, const char *name, const char *value, struct err *e)
{
        if (!str_is_id(value, CLASS_NAME_MAX)) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is no name of a runtime class", name, value);
                return err_hint(e, "creto-runtime runtimes lists them");
        }
        s->runtime = value;
        return 0;
}

static int set_trust(struct spec *s, const char *name, const char *value, struct err *e)
{
        s->trust = trust_of(value);
        if (s->trust != TRUST_UNSAID)
                return 0;
        return err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is not trusted, standard, untrusted or confidential", name, value);
}

/* Which runsc that is means a class that has one. */
static int set_engine(struct spec *s, const char *name, const char *value, struct err *e)
{
        if (*value == '\0' || strlen(value) > 4095)
                return err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is no path of 1 to 4095 bytes", name, value);
        s->engine_path = value;
        if (strcmp(s->runtime, CLASS_AUTO) == 0 && s->trust == TRUST_UNSAID)
                s->runtime = "gvisor";
        return 0;
}

static int set_env(struct spec *s, const char *name, const char *value, struct err *e)
{
        const char *equals = strchr(value, '=');

        if (!equals || equals == value) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is not NAME=VALUE", name, value);
                return err_hint(e, "write --env NAME=VALUE; a variable of yours: --env NAME=\"$NAME\"");
        }
        if (s->env_count == SPEC_ENV_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "--%s: more than %d variables", name, SPEC_ENV_MAX);
        s->env[s->env_count++] = value;
        s->env[s->env_count] = NULL;
        return 0;
}

static int set_label(struct spec *s, const char *name, const char *value, struct err *e)
{
        if (!strchr(value, '=') || *value == '=' || strlen(value) > 1024) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is not KEY=VALUE of at most 1024 bytes", name, value);
                return -(int)e->code;
        }
        if (s->label_count == SPEC_LABELS_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "--%s: more than %d labels", name, SPEC_LABELS_MAX);
        s->labels[s->label_count++] = value;
        return 0;
}

static int set_cwd(struct spec *s, const char *name, const char *value, struct err *e)
{
        if (*value != '/' || strlen(value) > 4095) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is not an absolute path of at most 4095 bytes", name, value);
                return err_hint(e, "paths are those inside the sandbox: --%s /home/agent", name);
        }
        s->cwd = value;
        return 0;
}

static int set_user(struct spec *s, const char *name, const char *value, struct err *e)
{
        if (*value == '\0' || strlen(value) > 255 || strpbrk(value, " \t\n/"))
                return err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is not a user: name, uid, name:group or uid:gid", name, value);
        s->user = value;
        return 0;
}

static int set_time(struct spec *s, const char *name, const char *value, struct err *e)
{
        uint64_t ms;

        if (!str_parse_ms(value, &ms) || ms == 0 || ms > UINT32_MAX) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is not a time from 1ms to 49d", name, value);
                return err_hint(e, "write seconds, or a number with ms, s, m, h or d: --%s 30s", name);
        }
        if (strcmp(name, "ttl") == 0)
                s->ttl_ms = ms;
        else
                s->timeout_ms = ms;
        return 0;
}

static int set_vcpus(struct spec *s, const char *name, const char *value, struct err *e)
{
        uint64_t n;

        if (!str_parse_u64(value, &n) || n < 1 || n > VMM_CPUS_MAX) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is not a number of processors from 1 to %d", name, value, VMM_CPUS_MAX);
                return err_hint(e, "how much of the host's processors they get is --cpu");
        }
        s->vcpus = (unsigned)n;
        s->hw_config = true;
        return 0;
}

static int set_policy(struct spec *s, const char *name, const char *value, struct err *e)
{
        (void)s;
        if (strcmp(value, "deny-all") == 0)
                return 0; /* as every sandbox of this version */
        err_set(e, ERR_NOT_SUPPORTED, 0, "--%s: only deny-all is available in this version, not '%.64s'", name, value);
        return -(int)e->code;
}

static int set_switch(struct spec *s, const char *name, const char *value, struct err *e)
{
        const struct {
                const char *name;
                bool *flag;
        } switches[] = {
                { "tty", &s->tty }, { "interactive", &s->interactive }, { "allow-fallback", &s->allow_fallback }, { "pull", &s->pull }
        };

        (void)value;
        for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
                if (strcmp(switches[i].name, name) == 0) {
                        *switches[i].flag = true;
                        return 0;
                }
        return err_set(e, ERR_INTERNAL_ERROR, 0, "--%s is no switch", name);
}

static int not_yet(struct spec *s, const char *name, const char *value, struct err *e)
{
        (void)s;
        (void)value;
        return err_set(e, ERR_NOT_SUPPORTED, 0, "--%s is not available in this version", name);
}

static const struct {
        const char *name;
        bool has_value;
        set_fn *set;
} options[] = {
        { "image", true, set_image },
        { "runtime", true, set_runtime },
        { "trust", true, set_trust },
        { "memory", true, set_limit },
        { "memory-swap", true, set_limit },
        { "cpu", true, set_limit },
        { "vcpus", true, set_vcpus },
        { "pids", true, set_limit },
        { "disk", true, set_limit },
        { "disk-inodes", true, set_limit },
        { "nofile", true, set_limit },
        { "core", true, set_limit },
        { "output-rate", true, set_limit },
        { "env", true, set_env },
        { "label", true, set_label },
        { "cwd", true, set_cwd },
        { "user", true, set_user },
        { "timeout", true, set_time },
        { "ttl", true, set_time },
        { "network-policy", true, set_policy },
        { "tty", false, set_switch },
        { "interactive", false, set_switch },
        { "allow-fallback", false, set_switch },
        { "pull", false, set_switch },
        { "egress-allow", true, not_yet },
        { "secret", true, not_yet },
        { "agent-nhi", true, not_yet },
        { "delegate", true, not_yet },
        { "idle-timeout", true, not_yet },
        { "volume", true, not_yet },
        { "runsc-path", true, set_engine },
};

enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

int spec_takes_value(const char *name)
{
        for (size_t i = 0; i < OPTIONS; i++)
                if (strcmp(options[i].name, name) == 0)
                        return options[i].has_value;
        return -1;
}

int spec_set(struct spec *s, const char *name, const char *value, struct err *e)
{
        int takes = spec_takes_value(name);

        if (takes >= 0 && takes != (value != NULL))
                return err_set(e, ERR_INVALID_SPEC, 0, "--%.64s %s", name, takes ? "needs a value" : "takes no value");
        for (size_t i = 0; i < OPTIONS; i++)
                if (strcmp(options[i].name, name) == 0)
                        return options[i].set(s, options[i].name, value, e);
        err_set(e, ERR_INVALID_SPEC, 0, "there is no option --%.64s", name);
        return err_hint(e, "'creto-runtime help run' lists them; the command comes behind --");
}

const char **spec_argv(const char *const *image, size_t entrypoint_count, const char *const *own)
{
        size_t of_image = str_count(image), of_caller = str_count(own), n = 0;
        const char **argv = calloc(of_image + of_caller + 1, sizeof(*argv));

        if (of_caller > 0 && of_image > entrypoint_count)
                of_image = entrypoint_count;
        for (size_t i = 0; argv && i < of_image; i++)
                argv[n++] = image[i];
        for (size_t i = 0; argv && i < of_caller; i++)
                argv[n++] = own[i];
        return argv;
}

const char **spec_environment(const char *const *image, const char *const *sandbox, const char *const *own)
{
        static const char *const base[] = { "LANG=C.UTF-8", NULL };
        const char *const *const from[] = { base, image, sandbox, own };
        size_t total = 1, n = 0;

        for (size_t i = 0; i < 4; i++)
                total += str_count(from[i]);
        const char **env = calloc(total, sizeof(*env));
        for (size_t i = 0; env && i < 4; i++)
                for (const char *const *v = from[i]; v && *v; v++) {
                        size_t at = str_find_pair(env, n, *v);

                        env[at] = *v;
                        n += at == n;
                }
        return env;
}

static int check_strings(const char *what, const char *const *v, size_t max, size_t *total, struct err *e)
{
        size_t n = 0;

        for (; v && v[n]; n++) {
                size_t len = strlen(v[n]);

                if (len > SPEC_STRING_MAX)
                        return err_set(e, ERR_INVALID_SPEC, 0, "%s: one of %zu bytes; the kernel takes at most %d", what, len,
                                       SPEC_STRING_MAX);
                *total += len + 8;
        }
        if (n > max)
                return err_set(e, ERR_INVALID_SPEC, 0, "%s: %zu of them; at most %zu are taken", what, n, max);
        return 0;
}

int spec_check_hw(const struct spec *s, struct err *e)
{
        if (!s->hw_config || s->trust != TRUST_UNSAID || vmm_is_class(s->runtime)) /* of a level: when it is known which class that is */
                return 0;
        err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s' is no virtual machine, and has no vm.hwConfig (--vcpus)", s->runtime);
        return err_hint(e, "name a class that is one (--runtime qemu), or use resourceLimits alone");
}

int spec_check(const struct spec *s, struct err *e)
{
        size_t total = 0;

        if (check_strings("arguments", s->command, SPEC_ARGS_MAX, &total, e) < 0 ||
            check_strings("variables", s->env, SPEC_ENV_MAX, &total, e) < 0)
                return err_hint(e, "send large data through standard input");
        if (total > SPEC_TOTAL_MAX) {
                err_set(e, ERR_INVALID_SPEC, 0, "arguments and environment have %zu bytes in all; at most %d are taken", total,
                        SPEC_TOTAL_MAX);
                return err_hint(e, "send large data through standard input");
        }
        if ((!s->command || !s->command[0]) && strcmp(s->image, "host") == 0) {
                err_set(e, ERR_INVALID_SPEC, 0, "there is no command to run");
                return err_hint(e, "write it behind --: creto-runtime run -- python3 -c 'print(6*7)'");
        }
        if (s->command && s->command[0] && s->command[0][0] == '\0')
                return err_set(e, ERR_INVALID_SPEC, 0, "the command's name is empty");
        return 0;
}
