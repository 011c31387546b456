/*
 * Writes the sandbox's seccomp filter as a C table, from domain/syscalls.def, at build time: so that no program that runs needs
 * libseccomp, and the filter that runs is the one that was reviewed. libseccomp orders it as a tree.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#define CLONE_NEW_ANY (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static scmp_filter_ctx filter;

static void must(int r, const char *what)
{
        if (r < 0 && r != -EEXIST) {
                fprintf(stderr, "gen-seccomp: %s: %s\n", what, strerror(-r));
                exit(1);
        }
}

/* Names that this libseccomp or this architecture does not know have no number to be called by, and so fall to the default. */
static void rule(uint32_t action, const char *name)
{
        int nr = seccomp_syscall_resolve_name(name);

        if (nr < 0)
                return;
        must(seccomp_rule_add_exact_array(filter, action, nr, 0, NULL), name);
}

static void compare(uint32_t action, const char *name, unsigned arg, enum scmp_compare op, uint64_t a, uint64_t b)
{
        struct scmp_arg_cmp cmp = { arg, op, a, b };

        must(seccomp_rule_add_exact_array(filter, action, seccomp_syscall_resolve_name(name), 1, &cmp), name);
}

/* The families that stay within the sandbox's own network namespace and are no kernel zoo; the rest (AF_VSOCK, AF_PACKET, AF_ALG,
 * AF_XDP and whatever comes) is an attack. */
static void socket_rules(void)
{
        static const int allowed[] = { AF_UNIX, AF_INET, AF_INET6 };

        for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
                compare(SCMP_ACT_ALLOW, "socket", 0, SCMP_CMP_EQ, (uint64_t)allowed[i], 0);
        /* of AF_NETLINK only NETLINK_ROUTE (protocol 0), which getifaddrs() needs */
        struct scmp_arg_cmp route[] = { { 0, SCMP_CMP_EQ, AF_NETLINK, 0 }, { 2, SCMP_CMP_EQ, 0, 0 } };
        struct scmp_arg_cmp other[] = { { 0, SCMP_CMP_EQ, AF_NETLINK, 0 }, { 2, SCMP_CMP_GE, 1, 0 } };
        must(seccomp_rule_add_exact_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, route), "socket");
        must(seccomp_rule_add_exact_array(filter, SCMP_ACT_NOTIFY, SCMP_SYS(socket), 2, other), "socket");
        for (int family = 0; family < 64; family++)
                if (family != AF_UNIX && family != AF_INET && family != AF_INET6 && family != AF_NETLINK)
                        compare(SCMP_ACT_NOTIFY, "socket", 0, SCMP_CMP_EQ, (uint64_t)family, 0);
}

static void special_rules(void)
{
        /* a thread or a process, but no namespace; clone3 hides its flags from a filter, so libraries must fall back to clone */
        compare(SCMP_ACT_ALLOW, "clone", 0, SCMP_CMP_MASKED_EQ, CLONE_NEW_ANY, 0);
        static const uint64_t spaces[] = { CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                           CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET };
        for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++)
                compare(SCMP_ACT_NOTIFY, "clone", 0, SCMP_CMP_MASKED_EQ, spaces[i], spaces[i]);
        must(seccomp_rule_add_exact_array(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0, NULL), "clone3");
        /* one's own limits: for an ordinary user pid 1 has the same uid as the tenant, and its limits are no business of theirs */
        compare(SCMP_ACT_ALLOW, "prlimit64", 0, SCMP_CMP_EQ, 0, 0);
        static const uint64_t personalities[] = { 0x0, 0x0008, 0x20000, 0x20008, 0xffffffff };
        for (size_t i = 0; i < sizeof(personalities) / sizeof(personalities[0]); i++)
                compare(SCMP_ACT_ALLOW, "personality", 0, SCMP_CMP_EQ, personalities[i], 0);
}

/* ioctl is allowed but for putting words into a terminal's mouth. The kernel looks at the low half of the request alone, and libseccomp cannot
 * say "all but these" of one argument; so this stands before its filter. (For a foreign ABI the number means something else; its calls are
 * killed behind this, or refused here.) */
static const struct sock_filter before[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])), /* little endian: the low half */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCLINUX, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
};

enum { BEFORE = sizeof(before) / sizeof(before[0]) };

static void emit_one(FILE *out, const struct sock_filter *f)
{
        fprintf(out, "        { %u, %u, %u, 0x%x },\n", f->code, f->jt, f->jf, f->k);
}

static void emit(FILE *out)
{
        char path[] = "/tmp/gen-seccomp-XXXXXX";
        int fd = mkstemp(path);
        struct stat st;
        struct sock_filter one;

        if (fd < 0) {
                perror(path);
                exit(1);
        }
        unlink(path);
        must(seccomp_export_bpf(filter, fd), "export");
        if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                exit(1);
        fprintf(out, "/* made by tools/gen-seccomp.c from domain/syscalls.def */\n");
        fprintf(out, "static const struct sock_filter seccomp_filter[%zu] = {\n", (size_t)st.st_size / sizeof(one) + BEFORE);
        for (size_t i = 0; i < BEFORE; i++)
                emit_one(out, &before[i]);
        while (read(fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
                emit_one(out, &one);
        fprintf(out, "};\n");
        close(fd);
}

/* The names of the counted calls, for messages. */
static void emit_names(FILE *out)
{
        fprintf(out, "static const struct { unsigned number; const char *name; } seccomp_attack_names[] = {\n");
#define ALLOW(name)
#define ATTACK(name)                                                                                                                       \
        if (seccomp_syscall_resolve_name(#name) >= 0)                                                                                      \
                fprintf(out, "        { %d, \"%s\" },\n", seccomp_syscall_resolve_name(#name), #name);
#include "domain/syscalls.def"
#undef ALLOW
#undef ATTACK
        fprintf(out,
                "        { %d, \"clone with namespaces\" },\n        { %d, \"socket family\" },\n        { %d, \"terminal injection\" },\n};\n",
                SCMP_SYS(clone), SCMP_SYS(socket), SCMP_SYS(ioctl));
}

int main(int argc, char **argv)
{
        if (argc != 3) {
                fprintf(stderr, "usage: gen-seccomp FILTER.h NAMES.h\n");
                return 2;
        }
        filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        if (!filter)
                return 1;
        must(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "badarch");
        must(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize");
#define ALLOW(name) rule(SCMP_ACT_ALLOW, #name);
#define ATTACK(name) rule(SCMP_ACT_NOTIFY, #name);
#include "domain/syscalls.def"
#undef ALLOW
#undef ATTACK
        socket_rules();
        special_rules();
        FILE *out = fopen(argv[1], "w");
        FILE *names = fopen(argv[2], "w");
        if (!out || !names)
                return 1;
        emit(out);
        emit_names(names);
        return fclose(out) != 0 || fclose(names) != 0;
}
