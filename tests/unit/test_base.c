/* The ground floor: cursors that go bad and stay bad, errors, descriptors, sockets. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/sock.h"
#include "base/str.h"
#include "test.h"

TEST(buf_round_trip)
{
        uint8_t mem[64];
        char text[8];
        struct wbuf w = wbuf_over(mem, sizeof(mem));

        wbuf_u8(&w, 0xab);
        wbuf_u16(&w, 0x1234);
        wbuf_u32(&w, 0xdeadbeef);
        wbuf_u64(&w, 0x0123456789abcdef);
        wbuf_str(&w, "text");
        wbuf_blob(&w, "\0x", 2);
        wbuf_bytes(&w, "end", 3);
        CHECK(!w.bad);
        CHECK_INT(w.len, 1 + 2 + 4 + 8 + 8 + 6 + 3);
        CHECK(mem[1] == 0x34 && mem[2] == 0x12); /* little endian */
        struct rbuf r = rbuf_over(mem, w.len);
        CHECK_INT(rbuf_u8(&r), 0xab);
        CHECK_INT(rbuf_u16(&r), 0x1234);
        CHECK(rbuf_u32(&r) == 0xdeadbeef);
        CHECK(rbuf_u64(&r) == 0x0123456789abcdef);
        rbuf_str(&r, text, sizeof(text));
        CHECK_STR(text, "text");
        CHECK_INT(rbuf_blob(&r, 2).len, 2);
        CHECK(!rbuf_done(&r));
        CHECK_INT(rbuf_left(&r), 3);
        CHECK(memcmp(rbuf_bytes(&r, 3).data, "end", 3) == 0);
        CHECK(rbuf_done(&r));
}

TEST(buf_write_limits)
{
        uint8_t mem[4] = { 9, 9, 9, 9 };
        struct wbuf w = wbuf_over(mem, 3);

        wbuf_u16(&w, 0);
        wbuf_u16(&w, 0x0101);
        CHECK(w.bad);
        CHECK_INT(w.len, 2);
        wbuf_u8(&w, 1); /* would fit, but bad stays bad */
        CHECK_INT(w.len, 2);
        CHECK(mem[2] == 9 && mem[3] == 9);
}

TEST(buf_read_limits)
{
        static const uint8_t mem[] = { 5, 0, 0, 0, 'a', 0, 'b', 'c', 'd' };
        char text[16] = "x";
        struct rbuf r = rbuf_over(mem, sizeof(mem));

        rbuf_str(&r, text, sizeof(text)); /* a NUL inside */
        CHECK(r.bad);
        CHECK_STR(text, "");
        r = rbuf_over(mem, sizeof(mem));
        rbuf_blob(&r, 4);
        CHECK(r.bad);
        r = rbuf_over(mem, sizeof(mem) - 1);
        CHECK_INT(rbuf_blob(&r, 100).len, 0);
        CHECK(r.bad);
        CHECK_INT(rbuf_left(&r), 0);
        CHECK_INT(rbuf_u8(&r), 0);
        CHECK(!rbuf_done(&r));
        r = rbuf_over("\4\0\0\0abcd", 8);
        rbuf_str(&r, text, 4); /* one too long */
        CHECK(r.bad);
        r = rbuf_over(NULL, 0);
        CHECK(rbuf_done(&r));
}

TEST(err_messages)
{
        struct err e;

        CHECK_INT(err_set(&e, ERR_INVALID_SPEC, ENOENT, "open '%s'", "x"), -ERR_INVALID_SPEC);
        CHECK_STR(e.msg, "open 'x': No such file or directory");
        CHECK_STR(e.hint, "");
        CHECK_INT(err_hint(&e, "try %d", 2), -ERR_INVALID_SPEC);
        CHECK_INT(err_wrap(&e, "spawn"), -ERR_INVALID_SPEC);
        CHECK_STR(e.msg, "spawn: open 'x': No such file or directory");
        CHECK_STR(e.hint, "try 2");
        errno = EPERM;
        CHECK_INT(err_sys(&e, "mount"), -ERR_INTERNAL_ERROR);
        CHECK_INT(e.sys, EPERM);
        CHECK_STR(e.msg, "mount: Operation not permitted");
}

TEST(err_long_messages)
{
        struct err e;
        char big[2 * ERR_MSG_MAX];

        memset(big, 'x', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        err_set(&e, ERR_TIMEOUT, EPERM, "%s", big);
        CHECK_INT(strlen(e.msg), ERR_MSG_MAX - 1);
        err_wrap(&e, "%s", big);
        CHECK_INT(strlen(e.msg), ERR_MSG_MAX - 1);
        err_hint(&e, "%s", big);
        CHECK_INT(strlen(e.hint), ERR_HINT_MAX - 1);
}

TEST(err_table)
{
        for (int code = 1; code < ERR_CODE_COUNT; code++) {
                CHECK(err_code_name((enum err_code)code)[0]);
                CHECK(err_code_http((enum err_code)code) >= 400);
                CHECK(err_code_exit((enum err_code)code) > 0);
                CHECK(err_code_text((enum err_code)code)[0]);
        }
        CHECK_STR(err_code_name(ERR_TIMEOUT), "TIMEOUT");
        CHECK_STR(err_code_name((enum err_code)999), "INTERNAL_ERROR");
        CHECK_INT(err_code_retry(ERR_RATE_LIMITED), ERR_RETRY_LATER);
}

TEST(fd_ownership)
{
        int ends[2];

        CHECK(pipe(ends) == 0);
        {
                auto_fd scoped = ends[0];
                CHECK(fcntl(scoped, F_GETFD) >= 0);
        }
        CHECK(fcntl(ends[0], F_GETFD) < 0);
        auto_fd kept = ends[1];
        int given = take_fd(&kept);
        CHECK(kept == -1 && given == ends[1]);
        errno = EBADMSG;
        fd_close(&given);
        CHECK(given == -1 && errno == EBADMSG);
        fd_close(&given);
}

TEST(fd_transfers)
{
        auto_fd a = -1, b = -1;
        int ends[2];
        char text[8];

        CHECK(pipe(ends) == 0);
        a = ends[0];
        b = ends[1];
        CHECK(fd_write_all(b, "abcdef", 6) == 0);
        CHECK(fd_read_all(a, text, 4) == 0 && memcmp(text, "abcd", 4) == 0);
        fd_close(&b);
        CHECK(fd_read_all(a, text, 4) < 0 && errno == ENODATA);
        CHECK(fd_set_nonblock(a, true) == 0 && (fcntl(a, F_GETFL) & O_NONBLOCK));
        CHECK(fd_set_nonblock(a, false) == 0 && !(fcntl(a, F_GETFL) & O_NONBLOCK));
}

TEST(fd_files)
{
        char path[] = "/tmp/creto-base-XXXXXX", link[64], text[8];
        auto_fd fd = mkstemp(path);

        CHECK(fd >= 0);
        CHECK(fd_write_file(AT_FDCWD, path, "0123456789") == 0);
        CHECK_INT(fd_read_file(AT_FDCWD, path, text, sizeof(text)), 7);
        CHECK_STR(text, "0123456");
        snprintf(link, sizeof(link), "%s.link", path);
        CHECK(symlink(path, link) == 0 && fd_read_file(AT_FDCWD, link, text, sizeof(text)) < 0 && errno == ELOOP);
        unlink(link);
        unlink(path);
        CHECK(fd_read_file(AT_FDCWD, path, text, sizeof(text)) < 0 && errno == ENOENT);
        CHECK(fd_write_file(AT_FDCWD, path, "x") < 0 && errno == ENOENT);
}

TEST(fd_moves)
{
        auto_fd fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        auto_fd target = fcntl(fd, F_DUPFD_CLOEXEC, 100);

        CHECK(fd_move(fd, target) == 0 && fcntl(target, F_GETFD) == 0);
        CHECK(fd_move(fd, fd) == 0 && fcntl(fd, F_GETFD) == 0);
}

TEST(fd_programs)
{
        char path[] = "/tmp/creto-test-XXXXXX";
        auto_fd made = mkstemp(path);
        struct stat st;

        CHECK(made >= 0 && fchmod(made, 0755) == 0);
        auto_fd any = fd_open_trusted(path, true, &st);
        CHECK(any >= 0 && st.st_uid == geteuid());
        CHECK(geteuid() == 0 || (fd_open_trusted(path, false, &st) == -1 && errno == EPERM));
        CHECK(fchmod(made, 0775) == 0 && fd_open_trusted(path, true, &st) == -1 && errno == EPERM);
        CHECK(fchmod(made, 0644) == 0 && fd_open_trusted(path, true, &st) == -1 && errno == EPERM);
        CHECK(unlink(path) == 0 && fd_open_trusted(path, true, &st) == -1 && errno == ENOENT);
}

/* ---- processes ---- */

/* Holds a child that ends with 3, and where `wait` is not -1 leaves one that ends with 5 when that can be read. Returns the holder's pid. */
static pid_t hold(int told[2], int wait)
{
        pid_t pid = fork();
        char byte;

        if (pid != 0)
                return pid;
        prctl(PR_SET_CHILD_SUBREAPER, 1); /* as the first process of a pid namespace is */
        proc_hold(told);
        if (wait >= 0 && fork() == 0)
                _exit(read(wait, &byte, 1) == 1 ? 5 : 6);
        _exit(3);
}

static int end_of(pid_t pid)
{
        int status;

        return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(proc_holds_what_is_left)
{
        int told[2], go[2];
        siginfo_t info;

        CHECK(pipe(told) == 0 && pipe(go) == 0);
        pid_t pid = hold(told, -1);
        CHECK_INT(read(told[0], &info, sizeof(info)), sizeof(info));
        CHECK(info.si_code == CLD_EXITED && info.si_status == 3 && info.si_pid == 0);
        CHECK_INT(end_of(pid), 3);

        pid = hold(told, go[0]);
        CHECK_INT(read(told[0], &info, sizeof(info)), sizeof(info));
        CHECK(info.si_code == CLD_EXITED && info.si_status == 3 && info.si_pid > 0);
        CHECK(waitpid(pid, NULL, WNOHANG) == 0); /* there is somebody yet */
        CHECK(write(go[1], "x", 1) == 1);
        CHECK_INT(end_of(pid), 5);

        close(told[0]); /* nobody is told */
        CHECK_INT(end_of(hold(told, -1)), 127);
        close(told[1]);
        close(go[0]);
        close(go[1]);
}

/* The one socket of a directory; what else may lie there is not taken for it. */
TEST(sock_in_a_directory)
{
        char top[] = "/tmp/creto-base-test.XXXXXX", path[64];
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        auto_fd listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(mkdtemp(top));
        auto_fd dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(mkdirat(dir, "s", 0700) == 0 && sock_connect_in(dir, "s") < 0 && sock_connect_in(dir, "t") < 0);
        snprintf(path, sizeof(path), "%s/s/x", top);
        CHECK(symlinkat("/", dir, "out") == 0 && symlinkat("s", dir, "link") == 0 && symlinkat("x", dir, "s/link") == 0);
        auto_fd file = fd_new_file(dir, "s/file", 0600, "x", 1), fifo = fd_new_fifo(dir, "s/fifo");
        CHECK(file >= 0 && fifo >= 0 && fd_new_fifo(dir, "s/fifo") < 0 && errno == EEXIST);
        CHECK(read(fifo, path, 1) < 0 && errno == EAGAIN);
        CHECK(sock_connect_in(dir, "s") < 0);
        memcpy(a.sun_path, path, sizeof(path));
        CHECK(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0);
        CHECK(sock_connect_in(dir, "s") < 0); /* nobody listens */
        CHECK(listen(listener, 1) == 0);
        auto_fd there = sock_connect_in(dir, "s");
        CHECK(there >= 0 && sock_connect_in(dir, "link") < 0 && sock_connect_in(dir, "out") < 0 && sock_connect_in(dir, "../s") < 0);
        static const char *const names[] = { "s/x", "s/fifo", "s/file", "s/link", "link", "out" };
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                unlinkat(dir, names[i], 0);
        CHECK(unlinkat(dir, "s", AT_REMOVEDIR) == 0 && rmdir(top) == 0);
}

TEST(sock_descriptors)
{
        int pair[2], got[2];
        size_t n = 2;
        char b[8];

        CHECK(sock_pair(SOCK_SEQPACKET, pair) == 0);
        auto_fd a = pair[0], z = pair[1];
        auto_fd null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK(sock_send(a, "hi", 2, (int[]){ null, null }, 2) == 0);
        CHECK_INT(sock_recv(z, b, sizeof(b), got, &n), 2);
        CHECK_INT(n, 2);
        CHECK(fcntl(got[0], F_GETFD) == FD_CLOEXEC);
        close(got[0]);
        close(got[1]);
        CHECK(sock_send(a, "", 1, NULL, SOCK_FDS_MAX + 1) < 0 && errno == EINVAL);
}

/* More descriptors than were asked for: refused, and none leaks. */
TEST(sock_datagrams_with_a_descriptor)
{
        char dir[] = "/tmp/creto-unit-XXXXXX", path[64], long_path[200], text[8] = "";
        struct stat st;
        uid_t who;
        int got;

        CHECK(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/s", dir);
        memset(long_path, 'x', sizeof(long_path) - 1);
        long_path[sizeof(long_path) - 1] = '\0';
        auto_fd null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CHECK(sock_send_datagram(path, "hi", 2, null) < 0 && errno == ENOENT);
        CHECK(sock_bind_datagrams(long_path, "s") < 0 && errno == ENAMETOOLONG);
        auto_fd old = sock_bind_datagrams(dir, "s"), fd = sock_bind_datagrams(dir, "s"); /* the name is the last one's */
        CHECK(old >= 0 && fd >= 0 && stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
        CHECK(sock_recv_with(fd, text, sizeof(text), &got, &who) < 0 && errno == EAGAIN && got == -1);
        CHECK(sock_send_datagram(path, "hi", 2, null) == 0 && sock_send_datagram(path, "longer than that", 16, null) == 0);
        CHECK_INT(sock_recv_with(fd, text, sizeof(text), &got, &who), 2);
        CHECK(strcmp(text, "hi") == 0 && who == getuid() && got >= 0 && (fcntl(got, F_GETFD) & FD_CLOEXEC));
        fd_close(&got);
        CHECK(sock_recv_with(fd, text, sizeof(text), &got, &who) < 0 && errno == EMSGSIZE && got == -1);
        unlink(path);
        rmdir(dir);
}

TEST(sock_unwanted_descriptors)
{
        int pair[2], got[1];
        size_t n = 1;
        char b[8];

        CHECK(sock_pair(SOCK_SEQPACKET, pair) == 0);
        auto_fd a = pair[0], z = pair[1];
        auto_fd null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        int next = dup(null);
        close(next);
        CHECK(sock_send(a, "hi", 2, (int[]){ null, null, null }, 3) == 0);
        CHECK(sock_recv(z, b, sizeof(b), got, &n) < 0 && errno == EMSGSIZE);
        CHECK_INT(n, 0);
        int after = dup(null);
        close(after);
        CHECK_INT(after, next);
        CHECK(sock_send(a, "longer than b", 13, NULL, 0) == 0);
        CHECK(sock_recv(z, b, sizeof(b), NULL, NULL) < 0 && errno == EMSGSIZE);
        fd_close(&a);
        CHECK_INT(sock_recv(z, b, sizeof(b), NULL, NULL), 0);
}

TEST(str_lists_and_pairs)
{
        const char *const pairs[] = { "A=1", "AB=2", "B", "AB=3", NULL };

        CHECK_INT(str_count(NULL), 0);
        CHECK_INT(str_count(pairs), 4);
        CHECK_INT(str_find_pair(pairs, 4, "AB=x"), 1);
        CHECK_INT(str_find_pair(pairs + 2, 2, "AB="), 1);
        CHECK_INT(str_find_pair(pairs, 4, "B"), 2);
        CHECK_INT(str_find_pair(pairs, 4, "B=x"), 4); /* what is no pair has no name */
        CHECK_INT(str_find_pair(pairs, 0, "A=1"), 0);
}
