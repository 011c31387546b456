/*
 * What the daemon is told: a file in TOML, the environment, the command line, each over the one before.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/log.h"
#include "domain/admission.h"
#include "domain/spec.h"

enum { CONFIG_PATH_MAX = 300, CONFIG_TEXT_MAX = 128, CONFIG_KEYS_MAX = 64 };

struct config {
        char file[CONFIG_PATH_MAX], state_dir[CONFIG_PATH_MAX], run_dir[CONFIG_PATH_MAX], image_store[CONFIG_PATH_MAX];
        char socket[CONFIG_PATH_MAX], listen[CONFIG_TEXT_MAX], user[CONFIG_TEXT_MAX], socket_group[CONFIG_TEXT_MAX];
        char tls_cert[CONFIG_PATH_MAX], tls_key[CONFIG_PATH_MAX];
        bool no_auth_on_loopback;
        bool keep_on_stop; /* on_stop = "keep" */
        unsigned drain_seconds, prepared, max_connections, max_execs, burst;
        unsigned long max_body;
        double requests_per_second;
        unsigned long ended_keep_seconds;
        bool log_json;
        enum log_level log_level;
        struct admission_rules rules;
        struct spec defaults;
        bool inherited; /* the sockets were handed over */
};

extern const char config_usage[];

int config_read(struct config *c, int argc, char **argv, struct err *e);
