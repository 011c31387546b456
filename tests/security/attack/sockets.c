/* Sockets: families that are not the sandbox's own network, and ways to the host. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "attack.h"

/* "FAMILY TYPE PROTOCOL" */
static int family(const char *spec)
{
        int f, t, p;

        if (sscanf(spec, "%d %d %d", &f, &t, &p) != 3)
                abort();
        return judge(syscall(SYS_socket, f, t, p));
}

/* The kernel takes the family for an int: bits above it must not mislead a filter. */
static int family_high_bits(const char *spec)
{
        return judge(syscall(SYS_socket, 1UL << 32 | (unsigned long)atoi(spec), SOCK_STREAM, 0));
}

static int any_family(const char *unused)
{
        static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET };

        (void)unused;
        for (int f = 0; f < 64; f++) {
                if (f == AF_UNIX || f == AF_INET || f == AF_INET6 || f == AF_NETLINK)
                        continue;
                for (size_t t = 0; t < 4; t++)
                        if (syscall(SYS_socket, f, types[t], 0) >= 0) {
                                say("family %d", f);
                                return WON;
                        }
        }
        return judge(-1);
}

static int tcp(const char *spec)
{
        struct sockaddr_in to = { .sin_family = AF_INET };
        char host[64];
        unsigned port;

        if (sscanf(spec, "%63[0-9.]:%u", host, &port) != 2)
                abort();
        inet_pton(AF_INET, host, &to.sin_addr);
        to.sin_port = htons((uint16_t)port);
        int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return judge(connect(s, (struct sockaddr *)&to, sizeof(to)));
}

/* Connecting a datagram socket asks for a route and sends nothing. */
static int route4(const char *host)
{
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };

        inet_pton(AF_INET, host, &to.sin_addr);
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        return judge(connect(s, (struct sockaddr *)&to, sizeof(to)));
}

static int connect_unix(const char *name, bool abstract)
{
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        size_t len = strlen(name);

        if (len + 1 > sizeof(to.sun_path))
                return REFUSED;
        memcpy(to.sun_path + abstract, name, len);
        int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r = connect(s, (struct sockaddr *)&to, (socklen_t)(sizeof(sa_family_t) + abstract + len + !abstract));
        int e = errno;
        close(s);
        errno = e;
        return judge(r);
}

static int abstract_one(const char *name)
{
        return connect_unix(name, true);
}

static int path_one(const char *name)
{
        return connect_unix(name, false);
}

/* Every socket that the kernel shows us. */
static int any_abstract(const char *unused)
{
        char line[512], *name;
        FILE *f = fopen("/proc/net/unix", "re");

        (void)unused;
        while (f && fgets(line, sizeof(line), f)) {
                name = strchr(line, '@');
                if (!name)
                        continue;
                name[strcspn(name, "\n")] = '\0';
                if (abstract_one(name + 1) == WON) {
                        say("%s", name);
                        return WON;
                }
        }
        say("none");
        return REFUSED;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *walk)
{
        (void)type;
        (void)walk;
        if (!S_ISSOCK(st->st_mode) || path_one(path) != WON)
                return 0;
        say("%s", path);
        return 1;
}

static int any_path(const char *unused)
{
        static const char *const tops[] = { "/run", "/tmp", "/var/tmp", "/var/run", "/home", "/dev" };

        (void)unused;
        for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++)
                if (nftw(tops[i], visit, 32, FTW_PHYS) == 1)
                        return WON;
        say("none");
        return REFUSED;
}

static int shared_memory(const char *key)
{
        return judge(shmget((key_t)strtol(key, NULL, 10), 0, 0));
}

static int queue(const char *name)
{
        return judge(mq_open(name, O_RDONLY));
}

const struct attack attacks_sockets[] = {
        { "vsock", 'U', true, "talk to the hypervisor (AF_VSOCK)", family, "40 1 0" },
        { "vsock-high-bits", 'U', true, "the same, with bits set that the kernel ignores", family_high_bits, "40" },
        { "packet", 'P', false, "send raw frames (AF_PACKET)", family, "17 3 0" },
        { "raw", 'P', false, "send raw packets", family, "2 3 1" },
        { "raw6", 'P', true, "send raw packets, version 6", family, "10 3 58" },
        { "alg", 'U', true, "use the kernel's ciphers (AF_ALG)", family, "38 5 0" },
        { "xdp", 'P', true, "open an AF_XDP socket", family, "44 3 0" },
        { "netlink-netfilter", 'U', true, "talk to the packet filter", family, "16 3 12" },
        { "netlink-xfrm", 'U', true, "talk to IPsec", family, "16 3 6" },
        { "netlink-generic", 'U', true, "talk to generic netlink", family, "16 3 16" },
        { "netlink-audit", 'U', true, "talk to the audit system", family, "16 3 9" },
        { "netlink-uevent", 'U', true, "hear device events", family, "16 3 15" },
        { "netlink-connector", 'U', true, "talk to the connector", family, "16 3 11" },
        { "netlink-diag", 'U', true, "ask for all sockets", family, "16 3 4" },
        { "netlink-crypto", 'U', true, "talk to the crypto layer", family, "16 3 21" },
        { "any-family", 'U', false, "open a socket of any other family", any_family, NULL },
        { "tcp", 'T', false, "connect to a listener of the host", tcp, NULL },
        { "route", 'P', false, "have a route to the world", route4, "192.0.2.1" },
        { "route-metadata", 'P', false, "have a route to the metadata service", route4, "169.254.169.254" },
        { "unix-abstract", 'T', false, "connect to an abstract socket of the host", abstract_one, NULL },
        { "unix-path", 'T', false, "connect to a socket file of the host", path_one, NULL },
        { "unix-any-abstract", 'P', false, "connect to any abstract socket, the control stream's included", any_abstract, NULL },
        { "unix-any-path", 'P', false, "connect to any socket file", any_path, NULL },
        { "sysv-shm", 'T', false, "open shared memory of the host", shared_memory, NULL },
        { "posix-mq", 'T', false, "open a message queue of the host", queue, NULL },
        { NULL, 0, false, NULL, NULL, NULL },
};
