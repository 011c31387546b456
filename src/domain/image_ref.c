#include "domain/image_ref.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define DIGITS "0123456789"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static const struct {
        const char *name;
        enum image_kind kind;
        bool tag;
} transports[] = {
        { "dir:", IMAGE_DIR, false },
        { "oci:", IMAGE_OCI, true },
        { "oci-archive:", IMAGE_OCI_ARCHIVE, true },
        { "docker-archive:", IMAGE_DOCKER_ARCHIVE, true },
};

enum { TRANSPORTS = sizeof(transports) / sizeof(transports[0]) };

static int refuse(struct err *e, const char *text, const char *why)
{
        return err_set(e, ERR_INVALID_SPEC, 0, "image '%.200s' %s", text, why);
}

static int refuse_hint(struct err *e, const char *text, const char *why, const char *hint)
{
        refuse(e, text, why);
        return err_hint(e, "%s", hint);
}

bool image_is_hex(const char *s)
{
        return strnlen(s, IMAGE_HEX + 1) == IMAGE_HEX && strspn(s, DIGITS "abcdef") == IMAGE_HEX;
}

static int parse_local(const char *text, size_t i, struct image_ref *out, struct err *e)
{
        const char *path = text + strlen(transports[i].name);
        size_t len = transports[i].tag ? strcspn(path, ":") : strlen(path);
        const char *tag = path[len] == ':' ? path + len + 1 : "";

        if (len == 0)
                return refuse_hint(e, text, "names no path", "write the path after the colon, such as oci:/srv/images/python");
        if (len > IMAGE_PATH_MAX)
                return refuse(e, text, "has a path of more than 4095 bytes");
        if (path[len] == ':' && !*tag)
                return refuse_hint(e, text, "ends with a colon", "write a tag after it, or leave it off");
        if (strlen(tag) > IMAGE_LOCAL_TAG_MAX)
                return refuse(e, text, "has a tag of more than 511 bytes");
        out->kind = transports[i].kind;
        memcpy(out->path, path, len);
        memcpy(out->tag, tag, strlen(tag) + 1);
        return 0;
}

/* One part of a repository: [a-z0-9]+ ((. | _ | __ | -+) [a-z0-9]+)* */
static bool is_part(const char *s, size_t len)
{
        size_t i = 0;

        while (i < len) {
                size_t word = strspn(s + i, LOWER DIGITS);

                if (word == 0)
                        return false;
                i += word;
                if (i >= len)
                        return i == len;
                size_t dashes = strspn(s + i, "-");
                size_t lows = strspn(s + i, "_");
                if (dashes == 0 && lows == 0 && s[i] != '.')
                        return false;
                if (lows > 2)
                        return false;
                i += dashes ? dashes : lows ? lows : 1;
        }
        return false;
}

static bool is_repo(const char *s)
{
        for (;;) {
                size_t len = strcspn(s, "/");

                if (!is_part(s, len))
                        return false;
                if (s[len] == '\0')
                        return true;
                s += len + 1;
        }
}

static bool is_port(const char *s)
{
        uint64_t port;

        return str_parse_u64(s, &port) && port > 0 && port < 65536;
}

/* A name or address, and a port. */
static bool is_host(const char *s)
{
        size_t len;

        if (*s == '[') {
                len = 1 + strspn(s + 1, DIGITS "abcdefABCDEF:.");
                if (len < 3 || s[len] != ']')
                        return false;
                len++;
        } else {
                len = strspn(s, LOWER UPPER DIGITS ".-");
                if (len == 0 || *s == '.' || *s == '-' || s[len - 1] == '-' || strstr(s, ".."))
                        return false;
        }
        return s[len] == '\0' || (s[len] == ':' && is_port(s + len + 1));
}

/* Whether what stands before the first slash is a registry and not the first part of a repository. */
static bool looks_like_host(const char *s, size_t len)
{
        return memchr(s, '.', len) || memchr(s, ':', len) || (len == 9 && memcmp(s, "localhost", 9) == 0);
}

static int take_digest(const char *text, char *work, struct image_ref *out, struct err *e)
{
        char *at = strchr(work, '@');

        if (!at)
                return 0;
        if (!str_has_prefix(at, "@sha256:") || !image_is_hex(at + 8))
                return refuse_hint(e, text, "has a digest that is not sha256: and 64 digits",
                                   "copy the digest whole, such as python@sha256:9f…");
        memcpy(out->hex, at + 8, IMAGE_HEX + 1);
        *at = '\0';
        return 0;
}

static int take_tag(const char *text, char *work, struct image_ref *out, struct err *e)
{
        char *slash = strrchr(work, '/');
        char *colon = strchr(slash ? slash : work, ':');

        if (!colon) {
                if (!out->hex[0])
                        memcpy(out->tag, "latest", 7);
                return 0;
        }
        size_t len = strlen(colon + 1);
        if (len == 0 || len > IMAGE_TAG_MAX || strspn(colon + 1, LOWER UPPER DIGITS "_.-") != len || colon[1] == '.' || colon[1] == '-')
                return refuse_hint(e, text, "has a tag that is not a tag",
                                   "a tag is up to 128 letters, digits, '_', '.' and '-', such as python:3.11");
        if (!out->hex[0]) /* what a digest names needs no tag */
                memcpy(out->tag, colon + 1, len + 1);
        *colon = '\0';
        return 0;
}

static int take_repo(const char *text, char *work, struct image_ref *out, struct err *e)
{
        char *slash = strchr(work, '/');
        const char *host = "docker.io";
        const char *repo = work;
        int n;

        if (slash && looks_like_host(work, (size_t)(slash - work))) {
                *slash = '\0';
                host = strcmp(work, "index.docker.io") == 0 ? "docker.io" : work;
                repo = slash + 1;
        }
        for (size_t i = 0; i < TRANSPORTS; i++) /* its full name would name a directory or an archive */
                if (str_has_prefix(host, transports[i].name))
                        return refuse_hint(e, text, "has a registry that is named like a transport",
                                           "write its name with the domain: oci.example.com:5000/name:tag");
        if (strlen(host) > IMAGE_HOST_MAX || !is_host(host))
                return refuse_hint(e, text, "has a registry that is not HOST or HOST:PORT", "such as registry.example.com:5000/name:tag");
        if (strpbrk(repo, UPPER))
                return refuse_hint(e, text, "has a repository with capital letters", "names of repositories are in lower case");
        if (!is_repo(repo))
                return refuse_hint(e, text, "is not a reference",
                                   "such as python:3.11, registry.example.com/team/name:tag, oci:DIR, dir:ROOTFS or host");
        if (strcmp(host, "docker.io") == 0 && !strchr(repo, '/'))
                n = snprintf(out->repo, sizeof(out->repo), "library/%s", repo);
        else
                n = snprintf(out->repo, sizeof(out->repo), "%s", repo);
        if (n > IMAGE_REPO_MAX)
                return refuse(e, text, "has a repository of more than 255 bytes");
        memcpy(out->host, host, strlen(host) + 1);
        out->kind = IMAGE_REGISTRY;
        return 0;
}

static int refuse_path(const char *text, struct err *e)
{
        refuse(e, text, "is a path, not a reference");
        return err_hint(e, "a directory with a root file system is dir:%.90s, an OCI layout oci:%.90s", text, text);
}

static int parse_registry(const char *text, struct image_ref *out, struct err *e)
{
        char work[IMAGE_HOST_MAX + IMAGE_REPO_MAX + IMAGE_TAG_MAX + IMAGE_HEX + 16];
        const char *bare = str_has_prefix(text, "docker://") ? text + 9 : text;
        int r;

        if (*bare == '/' || *bare == '.' || *bare == '~')
                return refuse_path(text, e);
        if (strstr(bare, "://"))
                return refuse_hint(e, text, "is a URL, not a reference", "leave the scheme off: registry.example.com/name:tag");
        if (snprintf(work, sizeof(work), "%s", bare) >= (int)sizeof(work))
                return refuse(e, text, "is longer than any reference");
        if ((r = take_digest(text, work, out, e)) < 0 || (r = take_tag(text, work, out, e)) < 0)
                return r;
        return take_repo(text, work, out, e);
}

/* Control characters would make messages and lists lie. */
static bool is_text(const char *s)
{
        for (; *s; s++)
                if ((unsigned char)*s < ' ' || *s == 0x7f)
                        return false;
        return true;
}

int image_ref_parse(const char *text, struct image_ref *out, struct err *e)
{
        struct image_ref ref = { .kind = IMAGE_HOST };
        int r = 0;

        if (!*text)
                return refuse_hint(e, text, "is empty", "such as python:3.11, oci:DIR, dir:ROOTFS or host");
        if (!is_text(text)) {
                err_set(e, ERR_INVALID_SPEC, 0, "the name of the image holds control characters");
                return err_hint(e, "such as python:3.11, oci:DIR, dir:ROOTFS or host");
        }
        if (strcmp(text, "host") != 0) {
                size_t i = 0;

                while (i < TRANSPORTS && !str_has_prefix(text, transports[i].name))
                        i++;
                r = i < TRANSPORTS ? parse_local(text, i, &ref, e) : parse_registry(text, &ref, e);
        }
        if (r == 0)
                *out = ref;
        return r;
}

void image_ref_format(const struct image_ref *r, char *out, size_t cap)
{
        const char *colon = r->tag[0] ? ":" : "";

        if (r->kind == IMAGE_HOST) {
                snprintf(out, cap, "host");
                return;
        }
        if (r->kind == IMAGE_REGISTRY) {
                snprintf(out, cap, "%s/%s%s%s%s%s", r->host, r->repo, colon, r->tag, r->hex[0] ? "@sha256:" : "", r->hex);
                return;
        }
        for (size_t i = 0; i < TRANSPORTS; i++)
                if (transports[i].kind == r->kind)
                        snprintf(out, cap, "%s%s%s%s", transports[i].name, r->path, colon, r->tag);
}

/* 127.anything: four numbers of which the first is 127. */
static bool is_loopback_v4(const char *s, size_t len)
{
        unsigned dots = 0;

        for (size_t i = 0; i < len; i++) {
                if (s[i] == '.')
                        dots++;
                else if (s[i] < '0' || s[i] > '9')
                        return false;
        }
        return dots == 3 && len > 4 && memcmp(s, "127.", 4) == 0;
}

bool image_ref_is_loopback(const struct image_ref *r)
{
        const char *host = r->host;
        size_t len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

        if (r->kind != IMAGE_REGISTRY)
                return false;
        return (len == 9 && memcmp(host, "localhost", 9) == 0) || (len == 5 && memcmp(host, "[::1]", 5) == 0) || is_loopback_v4(host, len);
}
