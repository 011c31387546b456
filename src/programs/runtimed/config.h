/*
 * What the daemon is told: a file in TOML (deploy/config.toml names every key), the environment, the command line, each over the one before.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/log.h"
#include "domain/admission.h"
#include "domain/classes.h"
#include "domain/spec.h"
#include "domain/vmm.h"

enum { CONFIG_PATH_MAX = 300, CONFIG_TEXT_MAX = 128, CONFIG_LIST_MAX = 64, CONFIG_FILE_MAX = 256 * 1024 };

/* What one process hands to the next: descriptors of these numbers, closed where there is none. */
enum { FD_SOCKET = 3, FD_LISTEN, FD_CONFIG, FD_TLS_CERT, FD_TLS_KEY, FD_JWKS, FD_INHERITED_END };

struct config {
        char file[CONFIG_PATH_MAX], state_dir[CONFIG_PATH_MAX], run_dir[CONFIG_PATH_MAX], image_store[CONFIG_PATH_MAX];
        char socket[CONFIG_PATH_MAX], listen[CONFIG_TEXT_MAX], user[CONFIG_TEXT_MAX], socket_group[CONFIG_TEXT_MAX];
        char qemu_kernel[CONFIG_PATH_MAX]; /* "": the newest of Debian's cloud kernels */
        struct config_vmm {
                char binary[CONFIG_PATH_MAX];
                bool kvm;
        } vmms[VMMS];
        char tls_cert[CONFIG_PATH_MAX], tls_key[CONFIG_PATH_MAX], jwks[CONFIG_PATH_MAX];
        char jwt_issuer[CONFIG_PATH_MAX], jwt_audience[CONFIG_PATH_MAX], jwt_role_claim[CONFIG_TEXT_MAX];
        int file_fd, tls_cert_fd, tls_key_fd, jwks_fd; /* open, where they are named; else -1 */
        bool no_auth_on_loopback;
        bool keep_on_stop; /* on_stop = "keep" */
        unsigned qemu_boot_seconds;
        unsigned drain_seconds, prepared, max_connections, max_execs, burst;
        uint64_t max_body;
        double requests_per_second;
        unsigned ended_keep_seconds;
        bool log_json;
        enum log_level log_level;
        struct admission_rules rules;
        struct spec defaults;
        char default_image[CONFIG_PATH_MAX], default_user[CONFIG_TEXT_MAX];
        char socket_roles[CONFIG_LIST_MAX][CONFIG_TEXT_MAX]; /* "USER=ROLE" */
        char keys[CONFIG_LIST_MAX][CONFIG_TEXT_MAX + 80];    /* "NAME=ROLE=SHA256" */
        unsigned socket_role_count, key_count;
        struct classes classes;
        bool warden_arguments; /* print those, and end */
        bool inherited;        /* the sockets and files were handed over */
};

/* Some class of virtual machines may use it. */
bool config_kvm(const struct config *c);

extern const char config_usage[];

/* Opens what it names. */
int config_read(struct config *c, int argc, char **argv, struct err *e);
