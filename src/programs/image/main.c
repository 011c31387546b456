/*
 * creto-image: the one program that touches registries and archives. The warden starts it confined to a user namespace in which it owns the image
 * store and nothing else; docs/formats/image-store.md has its interface.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "services/image/answer.h"
#include "services/image/image.h"

struct call {
        struct image_options options;
        enum answer_form form;
        bool json; /* list */
        const char *operand;
};

static int do_resolve(struct call *c, struct err *e)
{
        static struct image_found found;
        int r = image_resolve(&c->options, c->operand, &found, e);

        if (r == 0)
                r = answer_found(stdout, c->form, &found, e);
        image_found_release(&found);
        return r;
}

static int do_pull(struct call *c, struct err *e)
{
        c->options.pull = true;
        return do_resolve(c, e);
}

static int do_list(struct call *c, struct err *e)
{
        struct answer_list *list = answer_list_new();
        int r = list ? image_list(&c->options, answer_list_add, list, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0)
                answer_list_print(stdout, c->json, list);
        return r;
}

static int do_rm(struct call *c, struct err *e)
{
        struct image_removed removed;
        int r = image_remove(&c->options, c->operand, &removed, e);

        if (r == 0)
                answer_removed(stdout, c->form, &removed);
        return r;
}

static int do_prune(struct call *c, struct err *e)
{
        struct image_removed removed;
        int r = image_prune(&c->options, &removed, e);

        if (r == 0)
                answer_removed(stdout, c->form, &removed);
        return r;
}

static const struct {
        const char *name;
        bool operand;
        int (*run)(struct call *, struct err *);
} verbs[] = {
        { "resolve", true, do_resolve }, { "pull", true, do_pull },    { "list", false, do_list },
        { "rm", true, do_rm },           { "prune", false, do_prune },
};

enum option {
        OPT_STORE,
        OPT_NAME,
        OPT_SKOPEO,
        OPT_AUTHFILE,
        OPT_MAX,
        OPT_VALUES,
        OPT_PULL = OPT_VALUES,
        OPT_PROGRESS,
        OPT_WIRE,
        OPT_HUMAN,
        OPT_JSON,
        OPT_COUNT
};

static const char *const option_names[OPT_COUNT] = {
        [OPT_STORE] = "--store",         [OPT_NAME] = "--image-name", [OPT_SKOPEO] = "--skopeo",     [OPT_AUTHFILE] = "--authfile",
        [OPT_MAX] = "--max-layer-bytes", [OPT_PULL] = "--pull",       [OPT_PROGRESS] = "--progress", [OPT_WIRE] = "--wire",
        [OPT_HUMAN] = "--human",         [OPT_JSON] = "--json",
};

static int set_option(struct call *c, enum option o, const char *value, struct err *e)
{
        switch (o) {
        case OPT_STORE:
                c->options.store = value;
                break;
        case OPT_NAME:
                c->options.name = value;
                break;
        case OPT_SKOPEO:
                c->options.skopeo = value;
                break;
        case OPT_AUTHFILE:
                c->options.authfile = value;
                break;
        case OPT_MAX:
                if (!str_parse_bytes(value, &c->options.max_layer_bytes) || c->options.max_layer_bytes == 0 ||
                    c->options.max_layer_bytes > 1ULL << 44)
                        return err_set(e, ERR_INVALID_SPEC, 0, "--max-layer-bytes wants a size, not '%.100s'", value);
                break;
        case OPT_PULL:
                c->options.pull = true;
                break;
        case OPT_PROGRESS:
                c->options.progress = true;
                break;
        case OPT_WIRE:
                c->form = ANSWER_WIRE;
                break;
        case OPT_HUMAN:
                c->form = ANSWER_HUMAN;
                break;
        default:
                c->json = true;
                break;
        }
        return 0;
}

static int usage(struct err *e)
{
        err_set(e, ERR_INVALID_SPEC, 0, "creto-image --store DIR [OPTION]… resolve REF | pull REF | list | rm REF | prune");
        return err_hint(e, "creto-image is started by creto-warden; the command for people is `creto-runtime image`");
}

/* Options may stand on either side of the verb. */
static int parse(int argc, char **argv, struct call *c, int *verb, struct err *e)
{
        const char *words[2] = { 0 };
        int count = 0;

        for (int i = 1; i < argc; i++) {
                unsigned o = 0;

                while (o < OPT_COUNT && strcmp(argv[i], option_names[o]) != 0)
                        o++;
                if (o == OPT_COUNT && (str_has_prefix(argv[i], "--") || count == 2))
                        return usage(e);
                if (o == OPT_COUNT)
                        words[count++] = argv[i];
                else if (o < OPT_VALUES && ++i == argc)
                        return usage(e);
                else if (set_option(c, o, argv[i], e) < 0)
                        return -(int)e->code;
        }
        for (*verb = 0; *verb < (int)(sizeof(verbs) / sizeof(verbs[0])); (*verb)++) {
                if (words[0] && strcmp(words[0], verbs[*verb].name) == 0 && c->options.store && verbs[*verb].operand == (count == 2)) {
                        c->operand = words[1];
                        return 0;
                }
        }
        return usage(e);
}

int main(int argc, char **argv)
{
        static struct call c = { .options.max_layer_bytes = IMAGE_LAYER_BYTES_MAX };
        struct err e;
        int verb;

        umask(022);
        signal(SIGPIPE, SIG_IGN);
        int r = parse(argc, argv, &c, &verb, &e);
        if (r == 0)
                r = verbs[verb].run(&c, &e);
        if (r < 0)
                answer_error(stdout, c.form, &e);
        if (fflush(stdout) != 0)
                return err_code_exit(ERR_INTERNAL_ERROR);
        return r < 0 ? err_code_exit(e.code) : 0;
}
