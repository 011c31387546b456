/* What is asked of a sandbox: every option, what it takes and where that ends, and what only the whole can tell. */
#include "domain/spec.h"
#include "domain/spec_json.h"

#include "test.h"

static struct spec s;
static struct err e;

static int set(const char *name, const char *value)
{
        e.hint[0] = '\0';
        return spec_set(&s, name, value, &e);
}

/* One option on a new spec. */
static int alone(const char *name, const char *value)
{
        spec_init(&s);
        return set(name, value);
}

/* `before`, and `n` times 'x'; one at a time. */
static const char *filled(const char *before, size_t n)
{
        static char text[SPEC_STRING_MAX + 64];
        size_t len = strlen(before);

        memcpy(text, before, len);
        memset(text + len, 'x', n);
        text[len + n] = '\0';
        return text;
}

TEST(a_new_spec_has_the_defaults)
{
        spec_init(&s);
        CHECK_STR(s.image, "host");
        CHECK_STR(s.runtime, "auto");
        CHECK(limits_valid(&s.limits));
        CHECK_INT(s.limits.wanted, 0);
        CHECK(!s.env_count && !s.env[0] && !s.label_count && !s.cwd && !s.user && !s.command);
        CHECK(!s.tty && !s.interactive && !s.allow_fallback && !s.pull);
        CHECK_INT(s.timeout_ms + s.ttl_ms, 0);
}

TEST(options_are_taken)
{
        spec_init(&s);
        CHECK(set("image", "python:3.11") == 0 && set("runtime", "native") == 0 && set("cwd", "/tmp") == 0 && set("user", "1:2") == 0);
        CHECK(set("timeout", "1.5s") == 0 && set("ttl", "2m") == 0 && set("network-policy", "deny-all") == 0);
        CHECK(set("tty", NULL) == 0 && set("interactive", NULL) == 0 && set("allow-fallback", NULL) == 0 && set("pull", NULL) == 0);
        CHECK(set("env", "A=") == 0 && set("env", "B=c=d") == 0 && set("label", "k=v") == 0);
        CHECK_STR(s.image, "python:3.11");
        CHECK_STR(s.runtime, "native");
        CHECK_STR(s.cwd, "/tmp");
        CHECK_STR(s.user, "1:2");
        CHECK_INT(s.timeout_ms, 1500);
        CHECK_INT(s.ttl_ms, 120000);
        CHECK(s.tty && s.interactive && s.allow_fallback && s.pull);
        CHECK_INT(s.env_count, 2);
        CHECK_STR(s.env[1], "B=c=d");
        CHECK(!s.env[2]);
        CHECK_STR(s.labels[0], "k=v");
        CHECK(set("cwd", "/var") == 0); /* the last one counts */
        CHECK_STR(s.cwd, "/var");
}

TEST(a_level_and_an_engine)
{
        spec_init(&s);
        CHECK(s.trust == TRUST_UNSAID && set("trust", "untrusted") == 0);
        CHECK_INT(s.trust, TRUST_UNTRUSTED);
        CHECK_STR(s.runtime, "auto");
        CHECK_INT(alone("trust", ""), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("trust", "Trusted"), -(int)ERR_INVALID_SPEC);
        spec_init(&s);
        CHECK(set("runsc-path", "/opt/runsc") == 0);
        CHECK_STR(s.engine_path, "/opt/runsc");
        CHECK_STR(s.runtime, "gvisor"); /* it is one of that class */
        CHECK(set("runtime", "mine") == 0);
        CHECK_STR(s.runtime, "mine");
        spec_init(&s);
        CHECK(set("runtime", "mine") == 0 && set("runsc-path", "runsc") == 0);
        CHECK_STR(s.runtime, "mine");
        spec_init(&s);
        CHECK(set("trust", "standard") == 0 && set("runsc-path", "runsc") == 0);
        CHECK_STR(s.runtime, "auto"); /* the level says it */
        CHECK_INT(alone("runsc-path", ""), -(int)ERR_INVALID_SPEC);
}

TEST(every_limit_has_an_option)
{
        for (int i = 0; i < LIMIT_COUNT; i++) {
                char text[32];

                snprintf(text, sizeof(text), "%llu", (unsigned long long)limit_table[i].max);
                CHECK_INT(alone(limit_table[i].flag, text), 0);
                CHECK_INT(s.limits.wanted, 1 << i);
                CHECK(s.limits.value[i] == limit_table[i].max);
                snprintf(text, sizeof(text), "%llu", (unsigned long long)limit_table[i].max + 1);
                CHECK_INT(alone(limit_table[i].flag, text), -(int)ERR_INVALID_SPEC);
                CHECK_INT(alone(limit_table[i].flag, "unlimited"), limit_table[i].may_unlimited ? 0 : -(int)ERR_INVALID_SPEC);
                CHECK_INT(alone(limit_table[i].flag, ""), -(int)ERR_INVALID_SPEC);
                CHECK_INT(spec_takes_value(limit_table[i].flag), 1);
        }
}

TEST(a_small_disk_has_few_inodes)
{
        CHECK_INT(alone("disk", "16M"), 0);
        CHECK_INT(s.limits.value[LIMIT_INODES], 1024);
        CHECK(limits_valid(&s.limits));
        CHECK_INT(set("disk", "16T"), 0);
        CHECK_INT(s.limits.value[LIMIT_INODES], limit_table[LIMIT_INODES].def);
        CHECK_INT(alone("disk-inodes", "5000"), 0);
        CHECK_INT(set("disk", "4M"), 0);
        CHECK_INT(s.limits.value[LIMIT_INODES], 5000);
        CHECK_INT(alone("disk", "4M"), 0);
        CHECK(limits_valid(&s.limits));
}

TEST(values_and_switches_are_told_apart)
{
        CHECK_INT(spec_takes_value("env"), 1);
        CHECK_INT(spec_takes_value("tty"), 0);
        CHECK_INT(spec_takes_value("no-such"), -1);
        CHECK_INT(spec_takes_value(""), -1);
        CHECK_INT(alone("env", NULL), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("memory", NULL), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("tty", "1"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("no-such", NULL), -(int)ERR_INVALID_SPEC);
        CHECK(e.hint[0]);
}

TEST(wrong_values_are_refused)
{
        static const char *const cases[][2] = {
                { "image", "" },
                { "env", "" },
                { "env", "A" },
                { "env", "=x" },
                { "label", "k" },
                { "label", "=v" },
                { "cwd", "" },
                { "cwd", "tmp" },
                { "cwd", "../x" },
                { "user", "" },
                { "user", "a b" },
                { "user", "../x" },
                { "user", "a\nb" },
                { "timeout", "" },
                { "timeout", "0" },
                { "timeout", "0.1ms" },
                { "timeout", "-1" },
                { "timeout", "50d" },
                { "timeout", "1.s" },
                { "timeout", "1.1234567" },
                { "ttl", "5y" },
                { "ttl", "1 s" },
                { "memory", "64 M" },
                { "memory", "1e9" },
                { "memory", "+64M" },
                { "memory", "64MM" },
                { "memory", "0x100000" },
                { "pids", "1K" },
                { "cpu", "1.5" },
                { "runtime", "" },
                { "vcpus", "" },
                { "vcpus", "0" },
                { "vcpus", "17" },
                { "vcpus", "1.5" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                if (alone(cases[i][0], cases[i][1]) != -(int)ERR_INVALID_SPEC)
                        test_fail(__FILE__, __LINE__, "--%s '%s' is taken", cases[i][0], cases[i][1]);
                CHECK(strstr(e.msg, cases[i][0])); /* the message names the option */
        }
}

TEST(what_is_not_there_yet_is_said)
{
        static const char *const cases[][2] = {
                { "egress-allow", "x" }, { "secret", "x" }, { "agent-nhi", "x" },      { "delegate", "x" },
                { "idle-timeout", "1" }, { "volume", "x" }, { "network-policy", "x" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                CHECK_INT(alone(cases[i][0], cases[i][1]), -(int)ERR_NOT_SUPPORTED);
}

TEST(hardware_is_for_virtual_machines)
{
        static const char *const machines[] = { "qemu", "firecracker", "cloud-hypervisor" }, *const others[] = { "auto", "native",
                                                                                                                 "gvisor" };

        for (size_t i = 0; i < 3; i++) {
                CHECK(alone("vcpus", "16") == 0 && set("runtime", machines[i]) == 0);
                CHECK_INT(s.vcpus, 16);
                CHECK_INT(spec_check_hw(&s, &e), 0);
                CHECK_INT(alone("vcpus", "2") == 0 && set("runtime", others[i]) == 0 ? spec_check_hw(&s, &e) : 1, -(int)ERR_INVALID_SPEC);
                CHECK(strstr(e.msg, others[i]) && e.hint[0]);
        }
        spec_init(&s);
        CHECK_INT(spec_check_hw(&s, &e), 0);
}

/* The fault's field and message, "" where there is none. */
static const char *read_json(const char *text)
{
        static struct spec_faults faults;
        static char said[SPEC_FIELD_MAX + 400], arena[1024];
        struct json_node nodes[64];

        spec_init(&s);
        if (json_parse(text, strlen(text), nodes, 64, NULL) < 0)
                return "no JSON";
        if (spec_json_read(json_root(nodes), &s, arena, sizeof(arena), &faults, &e) == 0)
                return "";
        snprintf(said, sizeof(said), "%s %s", faults.list[0].field, faults.list[0].message);
        return said;
}

TEST(hw_config_of_runtime_spec)
{
        static const char *const bad[][2] = {
                { "{\"vm\":{\"hwConfig\":{\"vcpus\":2}}}", "spec.vm.hwConfig" },
                { "{\"runtimeClass\":\"native\",\"vm\":{\"hwConfig\":{\"memory\":268435456}}}", "spec.vm.hwConfig" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"hwConfig\":{\"vcpus\":17}}}", "spec.vm.hwConfig.vcpus" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"hwConfig\":{\"vcpus\":0}}}", "spec.vm.hwConfig.vcpus" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"hwConfig\":{\"vcpus\":\"2\"}}}", "spec.vm.hwConfig.vcpus" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"hwConfig\":{\"vcpus\":-1}}}", "spec.vm.hwConfig.vcpus" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"hwConfig\":{\"memory\":1}}}", "spec.vm.hwConfig.memory" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"hwConfig\":{\"memory\":1e30}}}", "spec.vm.hwConfig.memory" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"hwConfig\":{\"deviceTree\":\"/x\"}}}", "spec.vm.hwConfig.deviceTree" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"kernel\":{\"path\":\"/x\"}}}", "spec.vm.kernel" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":{\"hwConfig\":[]}}", "spec.vm.hwConfig" },
                { "{\"runtimeClass\":\"qemu\",\"vm\":1}", "spec.vm" },
                { "{\"runtimeClass\":\"qemu\",\"resourceLimits\":{\"memoryBytes\":268435456},\"vm\":{\"hwConfig\":{\"memory\":536870912}}}",
                  "spec.vm.hwConfig.memory is 536870912, and 268435456 by its other name" },
        };

        CHECK_STR(read_json("{\"vm\":{\"hwConfig\":{\"vcpus\":2,\"memory\":268435456}},\"runtimeClass\":\"qemu\"}"), "");
        CHECK_INT(s.vcpus, 2);
        CHECK_INT(s.limits.value[LIMIT_MEMORY], 256 << 20);
        CHECK(limits_wanted(&s.limits, LIMIT_MEMORY));
        CHECK_STR(
                read_json(
                        "{\"runtimeClass\":\"qemu\",\"resourceLimits\":{\"memoryBytes\":268435456},\"vm\":{\"hwConfig\":{\"memory\":268435456}}}"),
                "");
        CHECK_STR(read_json("{\"runtimeClass\":\"native\",\"vm\":null}"), "");
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                if (strncmp(read_json(bad[i][0]), bad[i][1], strlen(bad[i][1])) != 0)
                        test_fail(__FILE__, __LINE__, "%s: %s", bad[i][0], read_json(bad[i][0]));
}

TEST(limits_of_values)
{
        CHECK_INT(alone("image", filled("", 4000)), 0);
        CHECK_INT(alone("image", filled("", 4001)), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("cwd", filled("/", 4094)), 0);
        CHECK_INT(alone("cwd", filled("/", 4095)), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("user", filled("", 255)), 0);
        CHECK_INT(alone("user", filled("", 256)), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("label", filled("k=", 1022)), 0);
        CHECK_INT(alone("label", filled("k=", 1023)), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("timeout", "1ms"), 0);
        CHECK_INT(alone("timeout", "4294967295ms"), 0);
        CHECK_INT(alone("timeout", "4294967296ms"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("timeout", "18446744073709551616"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(alone("timeout", "18446744073709551615"), -(int)ERR_INVALID_SPEC);
}

TEST(limits_of_lists)
{
        spec_init(&s);
        for (int i = 0; i < SPEC_ENV_MAX; i++)
                CHECK_INT(set("env", "A=b"), 0);
        CHECK_INT(set("env", "A=b"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(s.env_count, SPEC_ENV_MAX);
        CHECK(!s.env[SPEC_ENV_MAX]);
        for (int i = 0; i < SPEC_LABELS_MAX; i++)
                CHECK_INT(set("label", "k=v"), 0);
        CHECK_INT(set("label", "k=v"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(s.label_count, SPEC_LABELS_MAX);
}

TEST(a_refused_option_changes_nothing)
{
        spec_init(&s);
        CHECK(set("memory", "64M") == 0 && set("cwd", "/tmp") == 0 && set("timeout", "1") == 0 && set("env", "A=b") == 0);
        CHECK(set("memory", "1") < 0 && set("cwd", "x") < 0 && set("timeout", "x") < 0 && set("env", "x") < 0 && set("pids", "0") < 0);
        CHECK_INT(s.limits.value[LIMIT_MEMORY], 64 << 20);
        CHECK_INT(s.limits.wanted, 1 << LIMIT_MEMORY);
        CHECK_STR(s.cwd, "/tmp");
        CHECK_INT(s.timeout_ms, 1000);
        CHECK_INT(s.env_count, 1);
}

static int with_command(const char *const *command)
{
        spec_init(&s);
        s.command = command;
        return spec_check(&s, &e);
}

TEST(a_command_is_needed)
{
        CHECK_INT(with_command(NULL), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_command((const char *const[]){ NULL }), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_command((const char *const[]){ "", NULL }), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_command((const char *const[]){ "true", "", NULL }), 0);
        CHECK_INT(alone("image", "python"), 0);
        CHECK_INT(spec_check(&s, &e), 0); /* the image may have one */
}

TEST(limits_of_the_whole)
{
        static const char *many[SPEC_ARGS_MAX + 2];
        static char variable[100000] = "A=";

        CHECK_INT(with_command((const char *const[]){ "x", filled("", SPEC_STRING_MAX), NULL }), 0);
        CHECK_INT(with_command((const char *const[]){ "x", filled("", SPEC_STRING_MAX + 1), NULL }), -(int)ERR_INVALID_SPEC);
        for (size_t i = 0; i < SPEC_ARGS_MAX + 1; i++)
                many[i] = "x";
        CHECK_INT(with_command(many), -(int)ERR_INVALID_SPEC);
        many[SPEC_ARGS_MAX] = NULL;
        CHECK_INT(with_command(many), 0);
        many[0] = filled("", SPEC_STRING_MAX);
        for (size_t i = 1; i < 8; i++)
                many[i] = many[0];
        many[8] = NULL; /* each fits; all together do not */
        CHECK_INT(with_command(many), -(int)ERR_INVALID_SPEC);
        CHECK(e.hint[0]);
        many[7] = NULL;
        CHECK_INT(with_command(many), 0);
        memset(variable + 2, 'x', sizeof(variable) - 3);
        CHECK(set("env", variable) == 0 && spec_check(&s, &e) < 0); /* the environment counts as well */
}

/* "a b c", and frees the list. */
static const char *joined(const char **list)
{
        static char out[256];

        out[0] = '\0';
        for (size_t i = 0; list[i]; i++) {
                strcat(out, i ? " " : "");
                strcat(out, list[i]);
        }
        free(list);
        return out;
}

TEST(the_command_of_an_image)
{
        const char *const image[] = { "entry", "-x", "cmd", NULL }, *const own[] = { "a", "b", NULL }, *const none[] = { NULL };

        CHECK_STR(joined(spec_argv(image, 2, own)), "entry -x a b");
        CHECK_STR(joined(spec_argv(image, 2, none)), "entry -x cmd");
        CHECK_STR(joined(spec_argv(image, 0, own)), "a b");
        CHECK_STR(joined(spec_argv(NULL, 0, own)), "a b");
        CHECK_STR(joined(spec_argv(NULL, 2, NULL)), "");
}

TEST(a_later_variable_takes_the_place_of_an_earlier)
{
        const char *const image[] = { "PATH=/i", "A=i", NULL }, *const box[] = { "A=s", "LANG=x", NULL },
                          *const own[] = { "B=", "A=o", "B=1", NULL };

        CHECK_STR(joined(spec_environment(NULL, NULL, NULL)), "LANG=C.UTF-8");
        CHECK_STR(joined(spec_environment(image, box, own)), "LANG=x PATH=/i A=o B=1");
}
