/*
 * A client that claims, for measuring: bench-pool [options] paced|exec|one|burst|sustained. One JSON object on standard output. A latency is from just before the write() of
 * the request until the last byte of its answer was read; of an exec, from the write() of its claim until the first byte of output was read.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "client.h"

static const char usage_text[] =
        "usage: bench-pool --socket PATH | --port N [--key KEY] [--pool ID] [--claim JSON] [--samples] MODE\n"
        "  paced      --count N --rate R                            one after the other, R a second (0: at once), each released\n"
        "  exec       the same, and --command JSON [--events] [--wanted TEXT]\n"
        "  one        the same in one request: --claim has the command in it\n"
        "  burst      --count N --rounds N                          N at once, from N connections\n"
        "  sustained  --seconds S --connections N [--rate R] [--warmup S] [--command JSON]\n"
        "Without --pool, sandboxes are made and ended instead.\n";

static const struct {
        const char *name;
        void (*run)(const struct client *o);
} modes[] = {
        { "paced", mode_paced }, { "exec", mode_exec }, { "one", mode_one }, { "burst", mode_burst }, { "sustained", mode_sustained }
};

static const struct option options[] = {
        { "socket", required_argument, NULL, 's' },      { "port", required_argument, NULL, 'p' },
        { "key", required_argument, NULL, 'k' },         { "pool", required_argument, NULL, 'P' },
        { "claim", required_argument, NULL, 'c' },       { "command", required_argument, NULL, 'x' },
        { "wanted", required_argument, NULL, 'w' },      { "events", no_argument, NULL, 'e' },
        { "samples", no_argument, NULL, 'a' },           { "count", required_argument, NULL, 'n' },
        { "rate", required_argument, NULL, 'r' },        { "rounds", required_argument, NULL, 'R' },
        { "seconds", required_argument, NULL, 'S' },     { "warmup", required_argument, NULL, 'W' },
        { "connections", required_argument, NULL, 'C' }, { NULL, 0, NULL, 0 },
};

static int usage(void)
{
        fputs(usage_text, stderr);
        return 64;
}

static int set_text(struct client *o, int option)
{
        switch (option) {
        case 's':
                o->target.socket = optarg;
                return 1;
        case 'k':
                o->target.key = optarg;
                return 1;
        case 'P':
                o->pool = optarg;
                return 1;
        case 'c':
                o->claim = optarg;
                return 1;
        case 'x':
                o->command = optarg;
                return 1;
        case 'w':
                o->wanted = optarg;
                return 1;
        case 'e':
                return o->events = true;
        case 'a':
                return o->samples = true;
        default:
                return 0;
        }
}

static int set_number(struct client *o, int option)
{
        char *end = "";
        double value = optarg ? strtod(optarg, &end) : -1;

        if (*end || !(value >= 0 && value <= COUNT_MAX))
                return 0;
        switch (option) {
        case 'p':
                o->target.port = (uint16_t)value;
                return value <= UINT16_MAX;
        case 'n':
                o->count = (unsigned)value;
                return 1;
        case 'R':
                o->rounds = (unsigned)value;
                return 1;
        case 'C':
                o->connections = (unsigned)value;
                return value <= CONNECTIONS_MAX;
        case 'r':
                o->rate = value;
                return 1;
        case 'S':
                o->seconds = value;
                return 1;
        case 'W':
                o->warmup = value;
                return 1;
        default:
                return 0;
        }
}

static bool makes_sense(const struct client *o, const char *mode)
{
        bool burst = strcmp(mode, "burst") == 0, exec = strcmp(mode, "exec") == 0;

        return (o->target.socket || o->target.port) && o->count > 0 && o->connections > 0 && o->rounds > 0 && o->seconds > 0 &&
               (!burst || o->count <= CONNECTIONS_MAX) && (!exec || o->command) && (!o->pool || strlen(o->pool) < ID_ROOM);
}

int main(int argc, char **argv)
{
        struct client o = { .claim = "{}", .count = 100, .connections = 4, .rounds = 1, .seconds = 1 };
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
                if (!set_text(&o, option) && !set_number(&o, option))
                        return usage();
        if (optind + 1 != argc || !makes_sense(&o, argv[optind]))
                return usage();
        if (o.pool)
                snprintf(o.claim_path, sizeof(o.claim_path), "/v1/warm-pools/%s/claim", o.pool);
        else
                snprintf(o.claim_path, sizeof(o.claim_path), "/v1/sandboxes");
        prctl(PR_SET_TIMERSLACK, 1UL);
        client_stops();
        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
                if (strcmp(argv[optind], modes[i].name) == 0) {
                        modes[i].run(&o);
                        return 0;
                }
        return usage();
}
