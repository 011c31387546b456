#include "programs/runtimed/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define MIB (1024ULL * 1024)

const char config_usage[] = "Usage: creto-runtimed [--config FILE] [--state-dir DIR] [--run-dir DIR] [--listen ADDR:PORT] [--socket PATH]\n"
                            "                      [--no-auth-on-loopback] [--user NAME]\n"
                            "\n"
                            "Starts the service in the foreground, as root; it prints one line when it is ready.\n";

static void set_defaults(struct config *c)
{
        *c = (struct config){ .state_dir = "/var/lib/creto-runtime",
                              .run_dir = "/run/creto-runtime",
                              .listen = "127.0.0.1:8080",
                              .drain_seconds = 30,
                              .prepared = 4,
                              .max_connections = 12000,
                              .max_execs = 128,
                              .burst = 100,
                              .max_body = 2 * MIB,
                              .ended_keep_seconds = 86400,
                              .log_level = LOG_INFO };
        c->rules = (struct admission_rules){ .max_sandboxes = 10000,
                                             .memory_overcommit = 20,
                                             .pids_overcommit = 20,
                                             .disk_overcommit = 20,
                                             .min_free_memory = 256 * MIB,
                                             .min_free_disk = 512 * MIB };
        spec_init(&c->defaults);
}

static int set_text(char *out, size_t cap, const char *name, const char *value, struct err *e)
{
        if (snprintf(out, cap, "%s", value) < (int)cap)
                return 0;
        return err_set(e, ERR_INVALID_SPEC, 0, "%s: at most %zu bytes", name, cap - 1);
}

struct option {
        const char *flag, *variable;
        size_t at, cap;
};

#define TEXT(flag, variable, field)                                                                                                        \
        {                                                                                                                                  \
                flag, variable, offsetof(struct config, field), sizeof(((struct config *)0)->field)                                        \
        }

static const struct option options[] = {
        TEXT("--config", "CRETO_RUNTIME_CONFIG", file),      TEXT("--state-dir", "CRETO_RUNTIME_STATE_DIR", state_dir),
        TEXT("--run-dir", "CRETO_RUNTIME_RUN_DIR", run_dir), TEXT("--listen", "CRETO_RUNTIME_LISTEN", listen),
        TEXT("--socket", "CRETO_RUNTIME_SOCKET", socket),    TEXT("--user", "CRETO_RUNTIME_USER", user),
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

int config_read(struct config *c, int argc, char **argv, struct err *e)
{
        set_defaults(c);
        if (take_environment(c, e) < 0 || take_arguments(c, argc, argv, e) < 0)
                return -(int)e->code;
        if (c->file[0])
                return err_set(e, ERR_NOT_SUPPORTED, 0, "--config is not available in this version");
        if (c->state_dir[0] != '/' || c->run_dir[0] != '/')
                return err_set(e, ERR_INVALID_SPEC, 0, "--state-dir and --run-dir are absolute paths");
        if (!c->socket[0] && snprintf(c->socket, sizeof(c->socket), "%s/runtime.sock", c->run_dir) >= (int)sizeof(c->socket))
                return err_set(e, ERR_INVALID_SPEC, 0, "--run-dir: at most %d bytes", CONFIG_PATH_MAX - 20);
        if (snprintf(c->image_store, sizeof(c->image_store), "%s/images", c->state_dir) >= (int)sizeof(c->image_store))
                return err_set(e, ERR_INVALID_SPEC, 0, "--state-dir: at most %d bytes", CONFIG_PATH_MAX - 20);
        return 0;
}
