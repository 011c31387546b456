/*
 * creto-runtimed: the daemon. Started as root it is a small monitor that makes what needs root (directories, the sockets), starts the warden and the daemon
 * itself as an unprivileged user, and starts again what ends. Started as anybody else, with the sockets handed over by it or by systemd, it is the daemon.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "programs/runtimed/config.h"
#include "programs/runtimed/daemon.h"
#include "programs/runtimed/monitor.h"
#include "programs/runtimed/systemd.h"

static int refuse(const struct err *e)
{
        fprintf(stderr, "creto-runtimed: %s\n", e->msg);
        if (e->hint[0])
                fprintf(stderr, "hint: %s\n", e->hint);
        return err_code_exit(e->code);
}

/* For a unit that starts creto-warden by itself: words that no shell takes for anything else. */
static int print_warden_arguments(const struct config *c)
{
        char text[CLASS_TEXT_MAX];

        for (unsigned i = 0; i < c->classes.count; i++) {
                if (class_is_built_in(&c->classes.of[i]))
                        continue;
                class_format(&c->classes.of[i], text);
                printf("--class %s\n", text);
        }
        if (config_kvm(c))
                printf("--kvm yes\n");
        return 0;
}

int main(int argc, char **argv)
{
        static struct config config;
        struct err e;

        if (argc == 2 && strcmp(argv[1], "--help") == 0) {
                fputs(config_usage, stdout);
                return 0;
        }
        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                printf("creto-runtimed %s\n", CRETO_VERSION);
                return 0;
        }
        bool by_systemd = geteuid() != 0 && systemd_has_sockets();
        if ((by_systemd && systemd_take_sockets(&e) < 0) || config_read(&config, argc, argv, &e) < 0)
                return refuse(&e);
        if (config.warden_arguments)
                return print_warden_arguments(&config);
        if (config.inherited || by_systemd)
                return daemon_run(&config);
        if (geteuid() != 0) {
                err_set(&e, ERR_AUTHORIZATION_DENIED, 0, "the service is started as root; it keeps nothing of that but creto-warden");
                err_hint(&e, "sudo creto-runtimed …, or systemctl start creto-runtime; 'creto-runtime run' needs neither");
                return refuse(&e);
        }
        return monitor_main(&config, argv);
}
