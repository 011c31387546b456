/*
 * An agent's loop in 60 lines: one sandbox of a running service, files in, commands with their output as it comes, and an end that is looked at.
 *
 *      cc agent.c $(pkg-config --cflags --libs libcreto-runtime) -o agent && ./agent
 *
 * CRETO_RUNTIME_HOST and CRETO_RUNTIME_API_KEY say which service; without them it is the one of this machine.
 */
#include <creto/runtime.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *what, const struct creto_error *e)
{
        fprintf(stderr, "%s: %s\n%s%s", what, e->message, e->hint, e->hint[0] ? "\n" : "");
        return 1;
}

/* Called for every piece of output, as it comes; stream 1 is standard output, 2 standard error. */
static ssize_t on_output(void *ctx, int stream, const void *data, size_t len)
{
        (void)ctx;
        return write(stream, data, len);
}

int main(void)
{
        static const char program[] = "import sys\nprint(sum(int(line) for line in sys.stdin))\n";
        static const char *const argv[] = { "python3", "/home/agent/sum.py", NULL };
        const struct creto_option spec[] = { { "memory", "256M" }, { "pids", "64" }, { "ttl", "5m" } };
        struct creto_runtime *rt;
        struct creto_sandbox *sb;
        struct creto_error e;
        struct creto_result result;
        int in[2];

        if (creto_connect(NULL, NULL, &rt, &e) < 0)
                return fail("connect", &e);
        if (creto_spawn(rt, spec, 3, &sb, &e) < 0)
                return fail("spawn", &e);

        /* A file goes in through a descriptor, and so does the command's standard input. */
        if (pipe(in) < 0 || write(in[1], program, strlen(program)) < 0 || close(in[1]) < 0)
                return 1;
        if (creto_file_put(sb, "/home/agent/sum.py", 0644, in[0], &e) < 0)
                return fail("put", &e);
        close(in[0]);
        if (pipe(in) < 0 || write(in[1], "1\n20\n21\n", 8) < 0 || close(in[1]) < 0)
                return 1;
        const struct creto_exec_options exec = { .argv = argv, .stdin_fd = in[0], .on_output = on_output };
        if (creto_exec(sb, &exec, &result, &e) < 0)
                return fail("exec", &e);

        printf("sandbox %s: exit status %d\n", creto_sandbox_id(sb), result.status);
        int r = creto_terminate(sb, &e) < 0 ? fail("terminate", &e) : result.status;
        creto_close(rt);
        return r;
}
