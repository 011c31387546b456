/*
 * Saves a machine, by QMP: one line of JSON each way. What QEMU answers is looked at for a word or two and not parsed: it is a program in the same sandbox
 * as this, and the worst it can do is to leave a state that does not go on.
 */
#include "programs/vm/host/saved/snapshot.h"

#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/sock.h"
#include "programs/vm/vm.h"

enum { LINE_MAX_BYTES = 16384, ASK_MS = 5 };

static char line[LINE_MAX_BYTES];

/* The next line; false at the end of the stream. Longer ones are cut. */
static bool hear(int qmp)
{
        size_t len = 0;
        char byte;

        while (read(qmp, &byte, 1) == 1) {
                if (byte == '\n') {
                        line[len] = '\0';
                        return true;
                }
                if (len + 1 < sizeof(line))
                        line[len++] = byte;
        }
        return false;
}

/* What comes between is events. */
static bool ask(int qmp, const char *request, const int *fds, size_t count)
{
        if (sock_send(qmp, request, strlen(request), fds, count) < 0)
                return false;
        while (hear(qmp)) {
                if (strstr(line, "\"return\":"))
                        return true;
                if (strstr(line, "\"error\":"))
                        return false;
        }
        return false;
}

static bool wait_for_end(int qmp)
{
        while (ask(qmp, "{\"execute\":\"query-migrate\"}\n", NULL, 0)) {
                if (strstr(line, "\"status\": \"completed\""))
                        return true;
                if (strstr(line, "\"status\": \"failed\"") || strstr(line, "\"status\": \"cancelled\""))
                        return false;
                poll(NULL, 0, ASK_MS);
        }
        return false;
}

int snapshot_take(int setup, int qmp, int state)
{
        char byte;

        if (read(setup, &byte, 1) != 1 || byte != VM_READY || !hear(qmp) || !strstr(line, "\"QMP\""))
                return -1;
        return ask(qmp, "{\"execute\":\"qmp_capabilities\"}\n", NULL,
                   0) && ask(qmp, "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":17179869184}}\n", NULL, 0) &&
                               ask(qmp, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"state\"}}\n", &state, 1) &&
                               ask(qmp, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:state\"}}\n", NULL, 0) && wait_for_end(qmp)
                       ? 0
                       : -1;
}

void snapshot_end(int qmp)
{
        ask(qmp, "{\"execute\":\"quit\"}\n", NULL, 0);
}
