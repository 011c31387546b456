#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int bad(const char *path, size_t line, const char *what)
{
        fprintf(stderr, "bench-spawner: %s:%zu: %s\n", path, line, what);
        return -1;
}

static char *slurp(const char *path)
{
        FILE *f = fopen(path, "re");
        char *text = f ? malloc(PLAN_MAX_FILE) : NULL;
        size_t n = text ? fread(text, 1, PLAN_MAX_FILE - 1, f) : 0;

        if (f)
                fclose(f);
        if (text)
                text[n] = '\0';
        return text;
}

static int parse_line(struct plan_command *c, char *line, const char *path, size_t at)
{
        const char *view;
        size_t n = 0;

        c->name = strsep(&line, "\t");
        view = strsep(&line, "\t");
        if (!view || !line)
                return bad(path, at, "wants NAME, VIEW and a command, parted by tabs");
        if (strcmp(view, "host") != 0 && strcmp(view, "crun") != 0)
                return bad(path, at, "the view is \"host\" or \"crun\"");
        c->crun_view = view[0] == 'c';
        while (line) {
                if (n == PLAN_MAX_ARGS)
                        return bad(path, at, "too many arguments");
                c->argv[n++] = strsep(&line, "\t");
        }
        c->argv[n] = NULL;
        return 0;
}

int plan_read(struct plan *p, const char *path)
{
        char *rest, *line;
        size_t at = 0;

        p->n = 0;
        p->text = slurp(path);
        if (!p->text)
                return bad(path, 0, "cannot be read");
        rest = p->text;
        while ((line = strsep(&rest, "\n"))) {
                at++;
                if (*line == '\0')
                        continue;
                if (p->n == PLAN_MAX_COMMANDS)
                        return bad(path, at, "too many commands");
                if (parse_line(&p->command[p->n], line, path, at) < 0)
                        return -1;
                p->n++;
        }
        return p->n > 0 ? 0 : bad(path, at, "no commands");
}

int plan_number(struct plan_command *c, unsigned number)
{
        for (size_t i = 0; c->argv[i]; i++) {
                char *hole = strstr(c->argv[i], "%p");
                char *filled;

                if (!hole)
                        continue;
                if (asprintf(&filled, "%.*s%u%s", (int)(hole - c->argv[i]), c->argv[i], number, hole + 2) < 0)
                        return -1;
                c->argv[i] = filled;
        }
        return 0;
}
