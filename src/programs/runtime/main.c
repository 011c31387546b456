/*
 * creto-runtime: the command line. A table of commands; what they do, they do through the public library and nothing else.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "programs/runtime/cli.h"
#include "programs/runtime/doctor.h"

static int cmd_doctor(int argc, char **argv)
{
        if (argc > 2 || (argc == 2 && strcmp(argv[1], "--json") != 0))
                return cli_usage("doctor [--json]");
        return doctor_run(argc == 2);
}

static int cmd_version(int argc, char **argv)
{
        (void)argc;
        (void)argv;
        printf("creto-runtime %s\n", creto_version());
        return 0;
}

static const char help_text[] =
        "Usage: creto-runtime COMMAND\n"
        "\n"
        "  run [OPTIONS] -- CMD...   run a command in a sandbox of its own, and exit with its status; needs no service\n"
        "  spawn [OPTIONS]           make a sandbox that stays; the options of run, and --idle-timeout, -q, --json\n"
        "  exec ID [-it] -- CMD...   run a command in it\n"
        "  list, status ID, get ID, logs ID, events [ID]\n"
        "  pause ID, resume ID, renew ID --ttl T, terminate ID... | --all\n"
        "  cp SRC DST                files; either side ID:/path, or - for standard input and output\n"
        "  pool create|claim|...     warm pools: see 'creto-runtime help pool'\n"
        "  keys create|list|revoke   API keys\n"
        "  runtimes, drain --runtime CLASS, enable --runtime CLASS, health\n"
        "  image list|pull|rm|prune  images in the store\n"
        "  doctor [--json]           what this host can isolate, and with what\n"
        "  completion bash|zsh|fish  for the shell\n"
        "  version, help [run|pool]\n"
        "\n"
        "Those but run, image and doctor ask the service: --host unix:PATH|http://ADDR:PORT or CRETO_RUNTIME_HOST, --api-key.\n"
        "A first sandbox:  creto-runtime run -- python3 -c 'print(6*7)'\n";

static const char help_run[] =
        "Usage: creto-runtime run [OPTIONS] -- CMD...\n"
        "\n"
        "  --image REF           host (default: the host's /usr), python:3.11, registry/name@sha256:..., oci:DIR[:TAG],\n"
        "                        oci-archive:FILE, docker-archive:FILE, dir:ROOTFS\n"
        "  --pull                ask the registry even where the image is in the store\n"
        "  --memory 512M         --memory-swap 0      --cpu 1000 (thousandths of a core)   --pids 256\n"
        "  --disk 1G             --disk-inodes 65536  --nofile 1024   --core 0   --output-rate 256M\n"
        "                        memory, swap, cpu, pids and output-rate also take 'unlimited'\n"
        "  --env NAME=VALUE      --label KEY=VALUE    --cwd DIR       --user NAME|UID[:GROUP]\n"
        "  --timeout 30s         time for the command --ttl 1h        time for the sandbox\n"
        "  -i, --interactive     pass standard input (also without, unless it is a terminal)\n"
        "  -t, --tty             a terminal inside; -it for a shell\n"
        "  --runtime CLASS       auto (default: gvisor where it is installed, else native), native, crun, runc, gvisor, ...; CRETO_RUNTIME_CLASS\n"
        "  --trust LEVEL         instead: trusted, standard, untrusted or confidential; the operator says which class that is\n"
        "  --allow-fallback      content with another class where that one is not to be had\n"
        "  --runsc-path PATH     root: make this one with that runsc\n"
        "  --network-policy deny-all    --vcpus 2 (of a virtual machine: --runtime qemu)\n"
        "\n"
        "Exit status: the command's; 128+n where signal n ended it; 124 where time ran out; 126 and 127 where it could not be\n"
        "executed or found; else as docs/errors.md says.\n";

static const char help_pool[] =
        "Usage: creto-runtime pool COMMAND\n"
        "\n"
        "  create --id POOL --template FILE.yaml|.toml|.json [SETTINGS]\n"
        "                            a pool whose sandboxes are made as the file says: the keys of a spec\n"
        "  update POOL [SETTINGS]    other settings, from now on\n"
        "  get POOL, list, stats [POOL], logs POOL [--phase Warming] [--limit N]\n"
        "  claim POOL [--env NAME=VALUE]... [--label KEY=VALUE]... [--ttl T] [--idle-timeout T] [--file FILE:/PATH]...\n"
        "        [--memory 1G] [--cpu 2000] [--pids 512] [--no-fallback] [-q]\n"
        "                            take a ready sandbox; what is named is bound to it\n"
        "  release ID...             give it back: it ends, and a reusable pool makes a fresh one\n"
        "  spawn POOL [--count N]    make more now; evict POOL --count N: end the oldest ready ones\n"
        "  drain POOL | --all        no more claims, ready ones end; activate POOL: again\n"
        "  delete POOL               claimed sandboxes go on\n"
        "\n"
        "  SETTINGS: --min-ready N, --max-ready N, --max-age T (0: never too old), --reusable[=true|false],\n"
        "  --auto-scaling-enabled[=true|false], --auto-scaling-headroom PERCENT, --auto-scaling-scale-down T\n"
        "\n"
        "All but delete take --json; a pool may also be named with --pool-id.\n";

static int cmd_help(int argc, char **argv)
{
        const char *about = argc > 1 ? argv[1] : "";

        fputs(strcmp(about, "run") == 0 ? help_run : strcmp(about, "pool") == 0 ? help_pool : help_text, stdout);
        return 0;
}

static const struct {
        const char *name;
        int (*run)(int argc, char **argv); /* NULL: not available in this version */
} commands[] = {
        { "run", cmd_run },       { "spawn", cmd_spawn },     { "exec", cmd_exec },           { "status", cmd_status },
        { "get", cmd_get },       { "logs", cmd_logs },       { "list", cmd_list },           { "pause", cmd_pause },
        { "resume", cmd_resume }, { "renew", cmd_renew },     { "terminate", cmd_terminate }, { "cp", cmd_cp },
        { "image", cmd_image },   { "keys", cmd_keys },       { "runtimes", cmd_runtimes },   { "drain", cmd_drain },
        { "enable", cmd_enable }, { "health", cmd_health },   { "events", cmd_events },       { "completion", cmd_completion },
        { "doctor", cmd_doctor }, { "version", cmd_version }, { "--version", cmd_version },   { "help", cmd_help },
        { "--help", cmd_help },   { "-h", cmd_help },         { "checkpoint", NULL },         { "restore", NULL },
        { "pool", cmd_pool },     { "network-policy", NULL }, { "attestation", NULL },        { "audit", NULL },
        { "mcp", NULL },
};

/* A descriptor of ours that came to be 0, 1 or 2 would be read and written as if it were the caller's. */
static void open_standard_streams(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= STDIN_FILENO && fd <= STDERR_FILENO);
        if (fd > STDERR_FILENO)
                close(fd);
}

int main(int argc, char **argv)
{
        struct creto_error e = { .code = CRETO_E_INVALID_SPEC };

        open_standard_streams();
        for (; argc > 2 && (strcmp(argv[1], "--host") == 0 || strcmp(argv[1], "--api-key") == 0); argc -= 2, argv += 2)
                *(argv[1][2] == 'h' ? &cli_host : &cli_key) = argv[2];
        if (argc < 2) {
                fputs(help_text, stderr);
                return 64;
        }
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
                if (strcmp(commands[i].name, argv[1]) != 0)
                        continue;
                if (commands[i].run)
                        return commands[i].run(argc - 1, argv + 1);
                e.code = CRETO_E_NOT_SUPPORTED;
                snprintf(e.message, sizeof(e.message), "%s: not available in this version", argv[1]);
                snprintf(e.hint, sizeof(e.hint), "'creto-runtime run' works without a service");
                return cli_error(&e);
        }
        snprintf(e.message, sizeof(e.message), "there is no command '%.64s'", argv[1]);
        snprintf(e.hint, sizeof(e.hint), "'creto-runtime help' lists them");
        return cli_error(&e);
}
