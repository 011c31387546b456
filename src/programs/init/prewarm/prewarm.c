#include "programs/init/prewarm/prewarm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/sock.h"
#include "programs/init/init.h"
#include "wire/prewarm.h"

enum { LEFT_MAX = 64, LOOK_US = 10000, NEXT_US = 50000 };

static struct {
        struct channel *channel; /* NULL: there is none */
        pid_t pid;
        int socket;
        struct identity id;
        pid_t standby; /* a child of ours that has said READY, or 0 */
        bool keeps;
        bool has_stdin; /* one that it may give to a command */
        bool late;      /* the last time that a standby was waited for none came: it is not waited for again */
} server = { .socket = -1 };

static uint8_t packet[PREWARM_PACKET_MAX];

bool prewarm_is_there(void)
{
        return server.channel != NULL;
}

int prewarm_pair(int ends[2])
{
        int on = 1;

        if (sock_pair(SOCK_SEQPACKET, ends) < 0)
                return -1;
        if (fd_set_nonblock(ends[0], true) == 0 && setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0)
                return 0;
        fd_close(&ends[0]);
        fd_close(&ends[1]);
        return -1;
}

void prewarm_begin(struct channel *c, pid_t pid, int socket, const struct identity *id, bool has_stdin)
{
        server.channel = c;
        server.pid = pid;
        server.socket = socket;
        server.id = *id;
        server.standby = 0;
        server.has_stdin = has_stdin;
        server.late = false;
        channel_hold(c);
}

/* Nobody is asked any more; who waits for a command goes too. */
static void forget(void)
{
        if (server.standby > 0 && server.standby != server.pid)
                kill(server.standby, SIGKILL); /* not reaped, or prewarm_reaped() would have said so */
        fd_close(&server.socket);
        server.standby = 0;
}

void prewarm_reaped(pid_t pid)
{
        if (!server.channel)
                return;
        if (pid == server.standby)
                server.standby = 0;
        if (pid != server.pid)
                return;
        forget();
        server.channel = NULL;
}

/* What it says */

/* The next packet and who sent it. Returns 1, 0 where there is none now, or -1 where no more will come or where it is none of ours. */
static int receive(struct prewarm_answer *answer, pid_t *from)
{
        uint8_t data[PREWARM_ANSWER_MAX];
        union {
                struct cmsghdr head;
                char space[CMSG_SPACE(sizeof(struct ucred))]; /* and no room for descriptors: the kernel closes what comes */
        } control;
        struct iovec iov = { data, sizeof(data) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        struct ucred who;
        ssize_t n = recvmsg(server.socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -1;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        if ((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || !c || c->cmsg_type != SCM_CREDENTIALS || c->cmsg_len != CMSG_LEN(sizeof(who)))
                return -1;
        memcpy(&who, CMSG_DATA(c), sizeof(who));
        *from = who.pid;
        return prewarm_get_answer((struct bytes){ data, (size_t)n }, answer) < 0 ? -1 : 1;
}

/* A child of ours that has not ended. */
static bool lives(pid_t pid)
{
        siginfo_t info = { 0 };

        return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

/* A child of ours that no channel has; the server itself only where it says that it becomes the command. */
static bool may_become(pid_t pid, bool keeps)
{
        return pid > 1 && keeps == (pid == server.pid) && (keeps || !channel_has(pid)) && lives(pid);
}

/*
 * It broke the protocol, or takes too long. Its exec ends when it is reaped. A RUN that nobody has read must not be read later, when the command has
 * been started cold: who makes himself a standby from here on is told that nobody listens, who has done so and was not heard yet is killed.
 */
static void put_down(void)
{
        struct prewarm_answer answer;
        pid_t from;

        kill(-server.pid, SIGKILL);
        kill(server.pid, SIGKILL);
        shutdown(server.socket, SHUT_RD);
        for (int i = 0; i < LEFT_MAX && receive(&answer, &from) > 0; i++)
                if (may_become(from, false))
                        kill(from, SIGKILL);
        forget();
}

/* Returns 0, or -1 where it is put down. */
static int on_ready(const struct prewarm_answer *answer, pid_t from)
{
        bool keeps = (answer->flags & PREWARM_KEEPS) != 0;

        if (server.standby > 0 && lives(server.standby)) { /* one at a time */
                put_down();
                return -1;
        }
        if (!may_become(from, keeps))
                return 0; /* killed meanwhile; or a lie, and then nobody gets anything to run */
        server.standby = from;
        server.keeps = keeps;
        server.late = false;
        channel_announce(server.channel);
        return 0;
}

/* What is there, as far as it says READY: another answer was not asked for. */
static void take_in(void)
{
        struct prewarm_answer answer;
        pid_t from;
        int r = 0;

        while (server.socket >= 0 && (r = receive(&answer, &from)) > 0)
                if (answer.type != PREWARM_READY || on_ready(&answer, from) < 0)
                        r = -1;
        if (r < 0 && server.socket >= 0)
                put_down();
}

void prewarm_watch(void)
{
        if (server.socket >= 0)
                watch_add(server.socket, POLLIN, WATCH_PREWARM, 0);
}

void prewarm_ready(void)
{
        take_in();
}

/* Waiting */

/* False where there is nothing to read until then. */
static bool await(uint64_t until_us)
{
        struct pollfd p = { .fd = server.socket, .events = POLLIN };
        uint64_t now = now_us();

        return now < until_us && poll(&p, 1, (int)((until_us - now) / 1000) + 1) > 0;
}

static bool same_user(const struct identity *a, const struct identity *b)
{
        return a->uid == b->uid && a->gid == b->gid && a->group_count == b->group_count &&
               memcmp(a->groups, b->groups, a->group_count * sizeof(a->groups[0])) == 0;
}

bool prewarm_fits(const struct spawn *order)
{
        uint64_t until = now_us() + PREWARM_READY_MS * 1000;

        if (server.socket < 0 || order->kind != GUEST_KIND_PROGRAM || order->tty || !same_user(order->id, &server.id))
                return false;
        take_in();
        while (server.socket >= 0 && server.standby == 0 && !server.late && await(until))
                take_in();
        server.late = server.standby == 0;
        return server.socket >= 0 && server.standby > 0;
}

bool prewarm_keeps(void)
{
        return server.keeps;
}

/* Handing out */

static size_t write_run(const struct spawn *order, bool has_stdin)
{
        struct wbuf w = wbuf_over(packet, sizeof(packet));
        bool wish = !order->cwd;
        const char *cwd = order->cwd ? order->cwd : order->id->home[0] ? order->id->home : "/";

        prewarm_put_run(&w, (uint8_t)((has_stdin ? PREWARM_STDIN : 0) | (wish ? PREWARM_CWD_WISH : 0)), cwd, order->argv, order->env);
        return w.bad ? 0 : w.len;
}

/* What may be an answer to a RUN. Returns the pid of who took it, 0 where it was refused, 1 where it says nothing of it, or -1 where it is none. */
static pid_t weigh(const struct prewarm_answer *answer, pid_t from, pid_t asked)
{
        if (answer->type == PREWARM_READY)
                return on_ready(answer, from) < 0 ? -1 : 1;
        if (from == server.standby) /* the one before had ended, and this one has read it in its place */
                server.standby = 0;
        else if (from != asked)
                return -1;
        return answer->type == PREWARM_REFUSED ? 0 : from;
}

/* After a RUN. Returns the pid of who took it, 0 where it was refused, or -1 where the server is put down. */
static pid_t await_taken(pid_t asked)
{
        uint64_t until = now_us() + PREWARM_TAKE_MS * 1000;
        struct prewarm_answer answer;
        bool alive = true;
        pid_t from, who = 1;

        while (who == 1 && now_us() < until) {
                if (alive && !lives(asked)) { /* what it has said is there; or the next one reads what it has not read, or nobody does */
                        alive = false;
                        until = now_us() + NEXT_US;
                }
                await(now_us() + LOOK_US);
                for (int r; who == 1 && server.socket >= 0 && (r = receive(&answer, &from)) != 0;)
                        who = r < 0 ? -1 : weigh(&answer, from, asked);
        }
        if (who != 1 && who != -1)
                return who;
        if (server.socket >= 0) {
                kill(asked, SIGKILL); /* not reaped, or there would be no socket */
                put_down();
        }
        return -1;
}

pid_t prewarm_run(const struct spawn *order, bool has_stdin)
{
        size_t len = write_run(order, has_stdin);
        pid_t asked = server.standby;

        if (len == 0 || (server.keeps && has_stdin && !server.has_stdin))
                return -1;
        if ((server.keeps && !channel_settle(server.channel)) ||
            sock_send(server.socket, packet, len, order->fds, server.keeps ? 0 : PREWARM_STREAMS) < 0) {
                put_down();
                return -1;
        }
        server.standby = 0;
        pid_t pid = await_taken(asked);
        return pid > 0 ? pid : -1;
}

void prewarm_hand_over(struct channel *c, bool has_stdin, uint32_t timeout_ms)
{
        channel_take(c, server.channel, has_stdin, timeout_ms);
        forget();
        server.channel = NULL;
}
