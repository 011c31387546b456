/*
 * `creto-runtime cp`: files between this machine and a sandbox, directories with all that is in them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "programs/runtime/cli.h"

enum { PATH_CAP = 4096, DEPTH_MAX = 64 };

static int failed(const char *path, struct creto_error *e)
{
        *e = (struct creto_error){ .code = errno == ENOSPC ? CRETO_E_RESOURCE_EXHAUSTED : CRETO_E_INVALID_SPEC, .sys = errno };
        snprintf(e->message, sizeof(e->message), "'%.300s': %s", path, strerror(errno));
        return -e->code;
}

static int too_long(struct creto_error *e)
{
        *e = (struct creto_error){ .code = CRETO_E_INVALID_SPEC };
        snprintf(e->message, sizeof(e->message), "a path is longer than %d bytes, or directories are nested more than %d deep",
                 PATH_CAP - 1, DEPTH_MAX);
        return -e->code;
}

/* ---- into the sandbox ---- */

static int put_file(struct creto_sandbox *sb, const char *from, const char *to, struct creto_error *e)
{
        bool standard = strcmp(from, "-") == 0;
        auto_fd fd = standard ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(from, O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return failed(from, e);
        return creto_file_put(sb, to, standard ? 0644 : st.st_mode & 0777, fd, e);
}

static int put_tree(struct creto_sandbox *sb, const char *from, const char *to, int depth, struct creto_error *e)
{
        char a[PATH_CAP], b[PATH_CAP];
        struct stat st;
        struct dirent *d;
        int r = 0;

        if (strcmp(from, "-") == 0)
                return put_file(sb, from, to, e);
        if ((depth ? lstat(from, &st) : stat(from, &st)) < 0)
                return failed(from, e);
        if (S_ISREG(st.st_mode) || (depth == 0 && !S_ISDIR(st.st_mode)))
                return put_file(sb, from, to, e);
        if (!S_ISDIR(st.st_mode)) {
                fprintf(stderr, "creto-runtime: notice: '%s' is neither a file nor a directory and is left out\n", from);
                return 0;
        }
        if (depth == DEPTH_MAX)
                return too_long(e);
        DIR *dir = opendir(from);
        if (!dir)
                return failed(from, e);
        r = creto_file_mkdir(sb, to, st.st_mode & 0777, e);
        while (r >= 0 && (d = readdir(dir))) {
                if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
                        continue;
                if (snprintf(a, sizeof(a), "%s/%s", from, d->d_name) >= PATH_CAP ||
                    snprintf(b, sizeof(b), "%s/%s", to, d->d_name) >= PATH_CAP)
                        r = too_long(e);
                else
                        r = put_tree(sb, a, b, depth + 1, e);
        }
        closedir(dir);
        return r;
}

/* ---- out of it ---- */

static int get_file(struct creto_sandbox *sb, const char *from, const char *to, unsigned mode, struct creto_error *e)
{
        char temp[PATH_CAP];

        if (strcmp(to, "-") == 0)
                return creto_file_get(sb, from, STDOUT_FILENO, NULL, e);
        if (snprintf(temp, sizeof(temp), "%s.creto-%ld", to, (long)getpid()) >= PATH_CAP)
                return too_long(e);
        auto_fd fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return failed(to, e);
        int r = creto_file_get(sb, from, fd, NULL, e);
        if (r == 0 && (fchmod(fd, mode & 0777) < 0 || rename(temp, to) < 0))
                r = failed(to, e);
        if (r != 0)
                unlink(temp);
        return r;
}

static int get_tree(struct creto_sandbox *sb, const char *from, const char *to, int depth, struct creto_error *e);

static int get_entries(struct creto_sandbox *sb, const char *from, const char *to, const struct creto_file *files, size_t count, int depth,
                       struct creto_error *e)
{
        char a[PATH_CAP], b[PATH_CAP];
        int r = 0;

        for (size_t i = 0; i < count && r >= 0; i++) {
                if (snprintf(a, sizeof(a), "%s/%s", from, files[i].name) >= PATH_CAP ||
                    snprintf(b, sizeof(b), "%s/%s", to, files[i].name) >= PATH_CAP)
                        r = too_long(e);
                else if (files[i].type == CRETO_FILE_DIRECTORY)
                        r = get_tree(sb, a, b, depth + 1, e);
                else if (files[i].type == CRETO_FILE_REGULAR)
                        r = get_file(sb, a, b, files[i].mode, e);
                else
                        fprintf(stderr, "creto-runtime: notice: '%s' is neither a file nor a directory and is left out\n", a);
        }
        return r;
}

/* A directory that is a link here could lead anywhere, so one that is there has to be a real one. */
static int get_tree(struct creto_sandbox *sb, const char *from, const char *to, int depth, struct creto_error *e)
{
        struct creto_file *files = NULL;
        struct stat st;
        size_t count = 0;
        int r = depth == DEPTH_MAX ? too_long(e) : creto_file_list(sb, from, &files, &count, e);

        if (r == 0 && mkdir(to, 0777) < 0 && !(errno == EEXIST && (depth ? lstat(to, &st) : stat(to, &st)) == 0 && S_ISDIR(st.st_mode)))
                r = failed(to, e);
        if (r == 0)
                r = get_entries(sb, from, to, files, count, depth, e);
        creto_free(files);
        return r;
}

static int get(struct creto_sandbox *sb, const char *from, const char *to, struct creto_error *e)
{
        char inside[PATH_CAP];
        const char *name = strrchr(from, '/');
        struct stat st;

        if (strcmp(to, "-") != 0 && stat(to, &st) == 0 && S_ISDIR(st.st_mode) && name && name[1]) {
                if (snprintf(inside, sizeof(inside), "%s%s", to, name) >= PATH_CAP)
                        return too_long(e);
                to = inside;
        }
        int r = get_file(sb, from, to, 0644, e);
        return r == 1 ? get_tree(sb, from, to, 0, e) : r;
}

/* ---- which is which ---- */

/* "ID:/path": where the path begins, or NULL. A local name with a colon is ./a:b. */
static char *inside(char *word)
{
        char *colon = strchr(word, ':'), *slash = strchr(word, '/');

        return colon && colon > word && colon[1] == '/' && (!slash || slash > colon) ? colon : NULL;
}

int cmd_cp(int argc, char **argv)
{
        int recursive = 0, status, n;
        const struct cli_option options[] = { { "recursive", 'r', NULL, &recursive } };
        struct creto_sandbox *sb = NULL;
        struct creto_error e;

        n = cli_options(argc, argv, options, 1, NULL);
        char *from = n == 3 ? inside(argv[1]) : NULL, *to = n == 3 ? inside(argv[2]) : NULL;
        if (n == 0)
                return 64;
        if (!from == !to)
                return cli_usage("cp SRC DST, one of them ID:/path and the other a path of this machine, or -");
        struct creto_runtime *rt = cli_connect(&status);
        if (!rt)
                return status;
        *(from ? from : to) = '\0';
        if (creto_sandbox_open(rt, argv[from ? 1 : 2], &sb, &e) < 0)
                status = cli_error(&e);
        else if ((from ? get(sb, from + 1, argv[2], &e) : put_tree(sb, argv[1], to + 1, 0, &e)) < 0)
                status = cli_error(&e);
        creto_sandbox_free(sb);
        creto_close(rt);
        return status;
}
