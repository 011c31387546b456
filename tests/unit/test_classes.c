#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "domain/classes.h"
#include "domain/limits.h"
#include "domain/spawn.h"
#include "domain/warden_args.h"
#include "wire/oci.h"

/* ---- the bundle's config.json ---- */

/* Against a file, which is what a reviewer reads. UPDATE_GOLDEN in the environment writes it anew. */
static void check_golden(const char *name, const struct oci_config *c)
{
        static char text[16384], wanted[16384];
        struct wbuf w = wbuf_over(text, sizeof(text) - 2);
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
        oci_config_put(&w, c);
        CHECK(!w.bad);
        text[w.len] = '\n';
        text[w.len + 1] = '\0';
        if (getenv("UPDATE_GOLDEN")) {
                auto_fd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
                CHECK(fd >= 0 && fd_write_all(fd, text, w.len + 1) == 0);
        }
        CHECK(fd_read_file(AT_FDCWD, path, wanted, sizeof(wanted)) > 0);
        CHECK_STR(text, wanted);
}

TEST(config_is_as_it_was_reviewed)
{
        const struct oci_config crun = { .hostname = "sb-1", .first_id = 0x70010000, .ids = 65536, .nofile = 4096 };
        const struct oci_config gvisor = { .hostname = "sb-2",
                                           .first_id = 0x70020000,
                                           .ids = 65536,
                                           .nofile = 1024,
                                           .own_network = true,
                                           .root_as_it_is = true,
                                           .start_as_root = true,
                                           .socket_dir = true };

        struct oci_config user_crun = crun, user_gvisor = gvisor;

        user_crun.first_id = user_gvisor.first_id = 0;
        user_crun.ids = user_gvisor.ids = 1;
        check_golden("config-crun.json", &crun);
        check_golden("config-gvisor.json", &gvisor);
        check_golden("config-crun-user.json", &user_crun);
        check_golden("config-gvisor-user.json", &user_gvisor);
}

TEST(config_does_not_fit)
{
        const struct oci_config c = { .hostname = "sb-1", .ids = 65536 };
        char text[100];
        struct wbuf w = wbuf_over(text, sizeof(text));

        oci_config_put(&w, &c);
        CHECK(w.bad);
}

/* ---- classes ---- */

static const char *joined(const char *const *argv)
{
        static char out[2048];
        size_t at = 0;

        out[0] = '\0';
        for (; *argv; argv++)
                at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s", at ? " " : "", *argv);
        return out;
}

TEST(engines_are_called_so)
{
        static const struct {
                const char *class;
                unsigned fds;
                bool old, user;
                const char *argv;
        } calls[] = {
                { "crun", 2, false, false,
                  "crun --root /tmp/state --cgroup-manager=disabled run --detach --bundle /tmp --pid-file /tmp/pid --preserve-fds 2 sb-1" },
                { "runc", 1, false, false,
                  "runc --root /tmp/state --rootless=true run --detach --bundle /tmp --pid-file /tmp/pid --preserve-fds 1 sb-1" },
                { "gvisor", 0, false, false,
                  "runsc --root /tmp/state --platform=systrap --network=none --ignore-cgroups --host-uds=create --overlay2=none "
                  "--file-access-mounts=exclusive run --detach --bundle /tmp --pid-file /tmp/pid sb-1" },
                { "gvisor", 0, true, false,
                  "runsc --root /tmp/state --platform=ptrace --network=none --ignore-cgroups --host-uds=create --overlay2=none "
                  "--file-access-mounts=exclusive run --detach --bundle /tmp --pid-file /tmp/pid sb-1" },
                { "crun", 2, false, true,
                  "crun --root /tmp/state --cgroup-manager=disabled run --detach --bundle /tmp --pid-file /tmp/pid --preserve-fds 2 sb-1" },
                { "gvisor", 0, true, true,
                  "runsc --root /tmp/state --platform=ptrace --network=none --ignore-cgroups --host-uds=create --overlay2=none "
                  "--file-access-mounts=exclusive --rootless run --detach --bundle /tmp --pid-file /tmp/pid sb-1" },
                { "containerd", 0, false, false,
                  "containerd-shim-runc-v2 -namespace creto -address /tmp/none -publish-binary /bin/true -id sb-1 start" },
                { "kata-fc", 0, false, false,
                  "containerd-shim-kata-v2 -namespace creto -address /tmp/none -publish-binary /bin/true -id sb-1 start" },
                { "youki", 2, false, false,
                  "youki --root /tmp/state --log-level=error run --detach --bundle /tmp --pid-file /tmp/pid --preserve-fds 2 sb-1" },
        };
        struct runtime_class youki;
        const char *argv[CLASS_ARGS_MAX];
        struct classes all;
        struct err e;

        classes_init(&all);
        CHECK(class_parse("youki,oci,/usr/bin/youki,--log-level=error", &youki));
        CHECK_INT(classes_add(&all, &youki, &e), 0);
        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
                const struct runtime_class *class = classes_find(&all, calls[i].class);

                CHECK(class);
                class_run_argv(class, "sb-1", calls[i].fds, calls[i].old, calls[i].user, argv);
                CHECK_STR(joined(argv), calls[i].argv);
                CHECK(!strstr(joined(argv), "kvm"));
        }
}

TEST(probes)
{
        const char *argv[CLASS_ARGS_MAX];
        struct classes all;

        classes_init(&all);
        CHECK(!class_probe_argv(classes_find(&all, "crun"), argv));
        CHECK(class_probe_argv(classes_find(&all, "gvisor"), argv));
        CHECK_STR(joined(argv), "runsc --platform=systrap --root=/proc list");
}

TEST(classes_as_text)
{
        static const char *const good[] = { "a,oci,/x",
                                            "youki,oci,/usr/bin/youki,--a,--b=c",
                                            "gvisor,gvisor,runsc,--platform=kvm",
                                            "x-1,crun,/a,-v",
                                            "a,shim,containerd-shim-runc-v2,runc",
                                            "a,shim,/x,/usr/bin/crun,--a,--b",
                                            "a,kata,/x,-",
                                            "a,kata,/x,/etc/kata.toml" };
        static const char *const bad[] = { "",
                                           "a",
                                           "a,oci",
                                           "a,oci,",
                                           "a,nothing,/x",
                                           ",oci,/x",
                                           "a,oci,/x,",
                                           "a,oci,/x,,b",
                                           "a,oci,/x,1,2,3,4,5,6,7,8,9",
                                           "a,shim,/x",
                                           "a,shim,/x,",
                                           "a,kata,/x",
                                           "a,shim,/x,runc,1,2,3,4,5,6,7,8,9",
                                           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,oci,/x" };
        struct runtime_class class;
        char text[CLASS_TEXT_MAX];

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                CHECK(class_parse(good[i], &class));
                class_format(&class, text);
                CHECK_STR(text, good[i]);
        }
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                CHECK(!class_parse(bad[i], &class));
}

TEST(classes_that_are_refused)
{
        static const char *const bad[] = {
                "native,oci,/x",  "auto,oci,/x",       "A,oci,/x",          "a b,oci,/x",      "a,oci,x/y",         "a,oci,/x y",
                "a,oci,/x;y",     "a,oci,/x,notanopt", "a,oci,/x,--root=/", "a,oci,/x,--root", "a,oci,/x,--a=$(b)", "a,oci,/x,--a=`b`",
                "a,shim,/x,-",    "a,shim,/x,x/y",     "a,shim,/x,a;b",     "a,shim,x y,runc", "a,shim,/x,r,--a$b", "a,kata,/x,kata.toml",
                "a,kata,/x,/a b",
        };
        struct runtime_class class;
        struct classes all;
        struct err e;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                classes_init(&all);
                unsigned before = all.count;
                CHECK(class_parse(bad[i], &class));
                CHECK_INT(classes_add(&all, &class, &e), -ERR_INVALID_SPEC);
                CHECK_INT(all.count, before);
        }
}

TEST(what_a_class_does_not_say)
{
        static const struct {
                enum class_driver driver;
                enum class_engine engine;
                const char *binary, *behind;
                const char *text;
        } cases[] = {
                { CLASS_OCI, ENGINE_OCI, "/opt/runsc", "", "a,gvisor,/opt/runsc" },
                { CLASS_OCI, ENGINE_OCI, "/opt/youki", "", "a,oci,/opt/youki" },
                { CLASS_CONTAINERD, ENGINE_OCI, "", "", "a,shim,containerd-shim-runc-v2,runc" },
                { CLASS_CONTAINERD, ENGINE_OCI, "", "/usr/bin/crun", "a,shim,containerd-shim-runc-v2,/usr/bin/crun" },
                { CLASS_CONTAINERD, ENGINE_OCI, "/opt/containerd-shim-other-v2", "", "a,shim,/opt/containerd-shim-other-v2,runc" },
                { CLASS_CONTAINERD, ENGINE_OCI, "/opt/containerd-shim-kata-v2", "", "a,kata,/opt/containerd-shim-kata-v2,-" },
                { CLASS_CONTAINERD, ENGINE_KATA, "/opt/shim", "/etc/k", "a,kata,/opt/shim,/etc/k" },
        };
        char text[CLASS_TEXT_MAX];

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct runtime_class class = { .name = "a", .driver = cases[i].driver, .engine = cases[i].engine };

                snprintf(class.binary, sizeof(class.binary), "%s", cases[i].binary);
                snprintf(class.behind, sizeof(class.behind), "%s", cases[i].behind);
                class_complete(&class);
                class_format(&class, text);
                CHECK_STR(text, cases[i].text);
        }
}

TEST(nothing_stands_behind_another_engine)
{
        struct runtime_class class = { .name = "a", .driver = CLASS_OCI, .engine = ENGINE_OCI, .binary = "/x", .behind = "runc" };
        static struct classes all;
        struct err e;

        classes_init(&all);
        CHECK_INT(classes_add(&all, &class, &e), -(int)ERR_INVALID_SPEC);
        CHECK(strstr(e.msg, "\"containerd\""));
        class.behind[0] = '\0';
        CHECK_INT(classes_add(&all, &class, &e), 0);
}

TEST(what_stands_behind_a_shim)
{
        static const struct {
                const char *class, *script, *argv;
                bool old;
        } cases[] = {
                { "a,shim,/x,runc", "#!/bin/sh\nexec /r --rootless=true \"$@\"\n",
                  "creto-shim sb-1 containerd.runc.v1.Options 6 /tmp/engine", false },
                { "a,shim,/x,/opt/crun,--debug", "#!/bin/sh\nexec /r --cgroup-manager=disabled --debug \"$@\"\n",
                  "creto-shim sb-1 containerd.runc.v1.Options 6 /tmp/engine", false },
                { "a,shim,/x,runsc",
                  "#!/bin/sh\nexec /r --platform=ptrace --network=none --ignore-cgroups --host-uds=create --overlay2=none --file-access-mounts=exclusive "
                  "\"$@\"\n",
                  "creto-shim sb-1 containerd.runc.v1.Options 6 /tmp/engine", true },
                { "a,shim,/x,youki", "#!/bin/sh\nexec /r \"$@\"\n", "creto-shim sb-1 containerd.runc.v1.Options 6 /tmp/engine", false },
                { "a,kata,/x,-", NULL, "creto-shim sb-1", false },
                { "a,kata,/x,/k.toml", NULL, "creto-shim sb-1 runtimeoptions.v1.Options 2 /k.toml", false },
        };
        const char *argv[CLASS_ARGS_MAX];
        char script[CLASS_TEXT_MAX];
        struct runtime_class class;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                CHECK(class_parse(cases[i].class, &class) && (class_runtime(&class) != NULL) == (cases[i].script != NULL));
                size_t len = class_runtime_script(&class, cases[i].script ? "/r" : "", cases[i].old, script);
                CHECK_INT(len, cases[i].script ? strlen(cases[i].script) : 0);
                if (cases[i].script)
                        CHECK_STR(script, cases[i].script);
                class_shim_argv(&class, "sb-1", argv);
                CHECK_STR(joined(argv), cases[i].argv);
        }
}

TEST(the_longest_class)
{
        struct runtime_class class = { .driver = CLASS_CONTAINERD, .engine = ENGINE_SHIM, .option_count = CLASS_OPTIONS_MAX }, same;
        char text[CLASS_TEXT_MAX], script[CLASS_TEXT_MAX], path[CLASS_BINARY_MAX + 32];

        memset(class.name, 'a', CLASS_NAME_MAX);
        memset(class.binary, '/', CLASS_BINARY_MAX);
        memset(class.behind, '/', CLASS_BINARY_MAX - 5);
        memcpy(class.behind + CLASS_BINARY_MAX - 5, "runsc", 5);
        for (int i = 0; i < CLASS_OPTIONS_MAX; i++)
                memset(class.options[i], '-', CLASS_OPTION_MAX);
        class_format(&class, text);
        CHECK(class_parse(text, &same) && memcmp(&same, &class, sizeof(class)) == 0);
        memset(path, '/', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        size_t len = class_runtime_script(&class, path, false, script);
        CHECK(len < sizeof(script) && strcmp(script + len - 6, " \"$@\"\n") == 0);
}

TEST(as_many_classes_as_there_is_room_for)
{
        struct runtime_class class;
        struct classes all;
        struct err e;
        char text[64];

        classes_init(&all);
        for (unsigned i = all.count; i < CLASSES_MAX; i++) {
                snprintf(text, sizeof(text), "c%u,oci,/x", i);
                CHECK(class_parse(text, &class));
                CHECK_INT(classes_add(&all, &class, &e), 0);
        }
        CHECK(class_parse("one-more,oci,/x", &class));
        CHECK(classes_add(&all, &class, &e) < 0);
        CHECK(class_parse("crun,crun,/opt/crun", &class)); /* in place of one that is there */
        CHECK_INT(classes_add(&all, &class, &e), 0);
        CHECK_STR(classes_find(&all, "crun")->binary, "/opt/crun");
        CHECK(!class_is_built_in(classes_find(&all, "crun")));
        CHECK(class_is_built_in(classes_find(&all, "runc")));
}

TEST(classes_are_described)
{
        struct ipc_class c;
        struct classes all;
        struct err e;

        classes_init(&all);
        err_set(&e, ERR_BACKEND_UNAVAILABLE, 0, "it is not there");
        err_hint(&e, "%s", class_hint(classes_find(&all, "crun"), classes_find(&all, "crun")->binary));
        class_describe(classes_find(&all, "crun"), 0x1ff, "", &e, &c);
        CHECK_INT(c.available, 0);
        CHECK_STR(c.reason, "it is not there");
        CHECK_STR(c.hint, "apt-get install crun");
        class_describe(classes_find(&all, "gvisor"), 0x1ff, "runsc 1", NULL, &c);
        CHECK_INT(c.available, 1);
        CHECK_INT(c.limits, 0x1ff & ~(1 << LIMIT_PIDS));
        CHECK_INT(c.can, 1 << CAN_CHANGE_LIMITS | 1 << CAN_EMBED);
        CHECK_STR(c.version, "runsc 1");
        class_describe(classes_find(&all, "containerd"), 0x1ff, "", NULL, &c);
        CHECK_STR(c.driver, "containerd");
        CHECK_STR(c.engine, "shim");
        CHECK_INT(c.limits, 0x1ff & ~(1 << LIMIT_PIDS));
        CHECK_INT(c.can, (1 << CAN_CHECKPOINT) - 1);
        class_describe(classes_find(&all, "kata"), 0x1ff, "", &e, &c);
        CHECK_STR(c.engine, "kata");
        CHECK_INT(c.can, 1 << CAN_EMBED);
}

TEST(system_calls_are_told_of_releases_that_were_counted)
{
        CHECK_INT(class_syscalls("none", ""), 284);
        CHECK_INT(class_syscalls("gvisor", "runsc version 0.0~20240729.0"), 266);
        CHECK_INT(class_syscalls("gvisor", "runsc version 0.0~20991231.0"), 0);
        CHECK_INT(class_syscalls("gvisor", ""), 0);
        CHECK_INT(class_syscalls("oci", "youki 1"), 0);
        CHECK_INT(class_syscalls("", ""), 0);
        CHECK(class_syscalls("none", "") < CLASS_SYSCALLS);
}

/* ---- what a request may say ---- */

static void good_request(struct ipc_spawn *req)
{
        struct limits l;

        limits_default(&l);
        *req = (struct ipc_spawn){ .id = "sb-1", .hostname = "sb-1", .uid = 1000, .gid = 1000, .home = "/home/agent", .class = "native" };
        memcpy(req->limits, l.value, sizeof(req->limits));
}

TEST(requests_are_judged)
{
        struct classes all;
        const struct spawn_rules rules = { .any_file = false, .ids = 65536, .limits = 0x1ff, .classes = &all };
        const struct runtime_class *class;
        static struct ipc_spawn req;
        uint32_t missing;
        struct err e;

        classes_init(&all);
        good_request(&req);
        CHECK_INT(spawn_check(&rules, &req, 0, &class, &missing, &e), 0);
        CHECK_STR(class->name, "native");
        CHECK_INT(missing, 0);
        CHECK(spawn_check(&rules, &req, 1, &class, &missing, &e) < 0);
#define BAD(change, code)                                                                                                                  \
        good_request(&req);                                                                                                                \
        change;                                                                                                                            \
        CHECK_INT(spawn_check(&rules, &req, 0, &class, &missing, &e), -(code))
        BAD(strcpy(req.id, "../x"), ERR_INVALID_SPEC);
        BAD(strcpy(req.hostname, ""), ERR_INVALID_SPEC);
        BAD(req.uid = 65535, ERR_INVALID_SPEC);
        BAD(strcpy(req.home, "home"), ERR_INVALID_SPEC);
        BAD(req.root = IPC_ROOT_LAYERS, ERR_INVALID_SPEC);
        BAD(req.limits[LIMIT_PIDS] = 0, ERR_INVALID_SPEC);
        BAD(strcpy(req.class, "nothing"), ERR_INVALID_SPEC);
        BAD(strcpy(req.class, ""), ERR_INVALID_SPEC);
        BAD((strcpy(req.class, "gvisor"), req.limits_wanted = 1U << LIMIT_PIDS), ERR_NOT_SUPPORTED);
        good_request(&req);
        req.root = IPC_ROOT_DIR;
        CHECK_INT(spawn_check(&rules, &req, 1, &class, &missing, &e), -ERR_AUTHORIZATION_DENIED);
        good_request(&req);
        strcpy(req.class, "gvisor");
        CHECK_INT(spawn_check(&rules, &req, 0, &class, &missing, &e), 0);
        CHECK_INT(missing, 1 << LIMIT_PIDS);
}

TEST(engines_that_come_with_a_request)
{
        struct classes all;
        struct spawn_rules rules = { .any_file = true, .ids = 65536, .limits = 0x1ff, .classes = &all };
        const struct runtime_class *class;
        static struct ipc_spawn req;
        uint32_t missing;
        struct err e;

        classes_init(&all);
        good_request(&req);
        strcpy(req.class, "gvisor");
        req.flags = IPC_SPAWN_ENGINE;
        CHECK_INT(spawn_check(&rules, &req, 1, &class, &missing, &e), 0);
        CHECK_INT(spawn_check(&rules, &req, 0, &class, &missing, &e), -ERR_INVALID_SPEC);
        CHECK_INT(spawn_check(&rules, &req, 2, &class, &missing, &e), -ERR_INVALID_SPEC);
        req.root = IPC_ROOT_DIR;
        CHECK_INT(spawn_check(&rules, &req, 1, &class, &missing, &e), -ERR_INVALID_SPEC);
        CHECK_INT(spawn_check(&rules, &req, 2, &class, &missing, &e), 0);
        req.root = IPC_ROOT_HOST;
        rules.any_file = false;
        CHECK_INT(spawn_check(&rules, &req, 1, &class, &missing, &e), -ERR_AUTHORIZATION_DENIED);
        req.flags = 0;
        strcpy(req.offer, "0123456789abcdef0123456789abcdef");
        CHECK_INT(spawn_check(&rules, &req, 0, &class, &missing, &e), 0); /* whoever knows the word */
        for (unsigned i = 0; i < 3; i++) {
                strcpy(req.class, ((const char *[]){ "native", "crun", "runc" })[i]);
                CHECK_INT(spawn_check(&rules, &req, 0, &class, &missing, &e), -ERR_INVALID_SPEC);
        }
}

/* /dev/kvm, and an image that is no root: for native sandboxes, and the first where root has said so. */
TEST(requests_for_machines_are_judged)
{
        struct classes all;
        struct spawn_rules rules = { .any_file = true, .ids = 65536, .limits = 0x1ff, .classes = &all };
        const struct runtime_class *class;
        static struct ipc_spawn req;
        uint32_t missing;
        struct err e;

        classes_init(&all);
        BAD(req.flags = IPC_SPAWN_KVM, ERR_AUTHORIZATION_DENIED);
        CHECK(strstr(e.hint, "accel"));
        rules.kvm = true;
        CHECK_INT(spawn_check(&rules, &req, 0, &class, &missing, &e), 0);
        BAD((req.flags = IPC_SPAWN_KVM, strcpy(req.class, "crun")), ERR_INVALID_SPEC);
        BAD(req.flags = IPC_SPAWN_BESIDE, ERR_INVALID_SPEC);
        BAD((req.flags = IPC_SPAWN_BESIDE, req.root = IPC_ROOT_LAYERS, req.layer_count = 1, strcpy(req.class, "crun")), ERR_INVALID_SPEC);
        strcpy(req.class, "native");
        CHECK_INT(spawn_check(&rules, &req, 0, &class, &missing, &e), 0);
        good_request(&req);
        req.flags = IPC_SPAWN_BESIDE;
        req.root = IPC_ROOT_DIR;
        CHECK_INT(spawn_check(&rules, &req, 1, &class, &missing, &e), -ERR_INVALID_SPEC);
}

/* ---- the warden's arguments ---- */

static bool read_args(struct warden_args *args, char **argv)
{
        int argc = 0;

        while (argv[argc])
                argc++;
        return warden_args_read(argc, argv, args);
}

#define ARGS(...)                                                                                                                          \
        ((char *[]){ "creto-warden", "--run-dir", "/run/c", "--state-dir", "/var/c", "--image-store", "/var/i",                            \
                     __VA_ARGS__ __VA_OPT__(, ) NULL })

TEST(the_warden_is_told_its_places_and_classes)
{
        struct warden_args args;

        CHECK(read_args(&args, ARGS()));
        CHECK(!args.service && args.peer_uid == 0);
        CHECK_STR(args.run_dir, "/run/c");
        CHECK_STR(args.state_dir, "/var/c");
        CHECK_STR(args.image_store, "/var/i");
        CHECK(read_args(&args, ARGS("--peer", "1234", "--class", "youki,oci,/usr/bin/youki,--debug")));
        CHECK(args.service && args.peer_uid == 1234 && !args.kvm);
        CHECK_STR(classes_find(&args.classes, "youki")->options[0], "--debug");
        CHECK(read_args(&args, ARGS("--kvm", "yes")) && args.kvm);
        CHECK(read_args(&args, ARGS("--kvm", "no")) && !args.kvm);
}

TEST(the_warden_takes_nothing_else)
{
        static char long_path[WARDEN_PATH_MAX + 2];
        struct warden_args args;

        memset(long_path, 'x', sizeof(long_path) - 1);
        long_path[0] = '/';
        CHECK(!read_args(&args, (char *[]){ "creto-warden", "--run-dir", "/run/c", "--state-dir", "/var/c", NULL }));
        CHECK(!read_args(&args, ARGS("--peer")));
        CHECK(!read_args(&args, ARGS("--peer", "-1")));
        CHECK(!read_args(&args, ARGS("--peer", "4294967295")));
        CHECK(!read_args(&args, ARGS("--peer", "5x")));
        CHECK(!read_args(&args, ARGS("--class", "native,oci,/bin/x")));
        CHECK(!read_args(&args, ARGS("--class", "firecracker,oci,/bin/x")));
        CHECK(!read_args(&args, ARGS("--kvm", "1")));
        CHECK(!read_args(&args, ARGS("--run-dir", "run")));
        CHECK(!read_args(&args, ARGS("--state-dir", long_path)));
        CHECK(!read_args(&args, ARGS("--unknown", "1")));
        CHECK(!warden_args_read(1, (char *[]){ "creto-warden", NULL }, &args));
}
