/* What is a reference has a name in full, which is a reference to the same, part by part. */
#include "fuzz.h"

#include "domain/image_ref.h"

static void same(const struct image_ref *a, const struct image_ref *b)
{
        NEED(a->kind == b->kind);
        NEED(strcmp(a->path, b->path) == 0 && strcmp(a->tag, b->tag) == 0);
        NEED(strcmp(a->host, b->host) == 0 && strcmp(a->repo, b->repo) == 0 && strcmp(a->hex, b->hex) == 0);
}

static void check(const struct image_ref *r)
{
        bool local = r->kind != IMAGE_HOST && r->kind != IMAGE_REGISTRY;

        NEED((r->path[0] != '\0') == local);
        NEED((r->host[0] != '\0') == (r->kind == IMAGE_REGISTRY) && (r->repo[0] != '\0') == (r->kind == IMAGE_REGISTRY));
        NEED(!local || !r->hex[0]);
        if (r->kind != IMAGE_REGISTRY)
                return;
        NEED(strlen(r->tag) <= IMAGE_TAG_MAX && (r->tag[0] != '\0') == (r->hex[0] == '\0'));
        NEED(!r->hex[0] || image_is_hex(r->hex));
        /* nothing that skopeo or a shell could take for an option, a path, or more than one word */
        NEED(r->repo[0] != '-' && r->repo[0] != '/' && r->repo[0] != '.' && !strpbrk(r->repo, " :@%\\\"'") && !strstr(r->repo, ".."));
        NEED(r->host[0] != '-' && !strpbrk(r->host, " /@%\\\"'"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct image_ref ref, again;
        static char name[IMAGE_NAME_MAX + 1], name2[IMAGE_NAME_MAX + 1];
        char *text = fuzz_text(data, len);
        struct err e = { 0 };

        if (image_ref_parse(text, &ref, &e) < 0) {
                NEED(e.code == ERR_INVALID_SPEC && e.msg[0]);
        } else {
                check(&ref);
                image_ref_format(&ref, name, sizeof(name));
                NEED(strlen(name) < IMAGE_NAME_MAX && image_ref_parse(name, &again, &e) == 0);
                same(&ref, &again);
                image_ref_format(&again, name2, sizeof(name2));
                NEED(strcmp(name, name2) == 0 && image_ref_is_loopback(&ref) == image_ref_is_loopback(&again));
        }
        free(text);
        return 0;
}
