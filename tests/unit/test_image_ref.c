/* References to images: what they mean in full, what is none, and every limit. */
#include "domain/image_ref.h"

#include "test.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct image_ref ref;
static char name[IMAGE_NAME_MAX + 1];
static struct err e;

/* The name in full, or "" where the text is no reference. */
static const char *full(const char *text)
{
        name[0] = '\0';
        e.code = ERR_NONE;
        if (image_ref_parse(text, &ref, &e) == 0)
                image_ref_format(&ref, name, sizeof(name));
        return name;
}

/* `n` times `c` between two texts; one at a time. */
static const char *filled(const char *before, char c, size_t n, const char *after)
{
        static char text[16384];
        size_t len = strlen(before);

        memcpy(text, before, len);
        memset(text + len, c, n);
        memcpy(text + len + n, after, strlen(after) + 1);
        return text;
}

TEST(references_have_a_name_in_full)
{
        static const char *const cases[][2] = {
                { "host", "host" },
                { "host:1", "docker.io/library/host:1" },
                { "dir:/srv/rootfs", "dir:/srv/rootfs" },
                { "dir:a:b", "dir:a:b" },
                { "oci:layout", "oci:layout" },
                { "oci:layout:v1", "oci:layout:v1" },
                { "oci:with blanks:v1", "oci:with blanks:v1" },
                { "oci-archive:/a.tar:b:c", "oci-archive:/a.tar:b:c" },
                { "docker-archive:x.tar:localhost/a:1", "docker-archive:x.tar:localhost/a:1" },
                { "python", "docker.io/library/python:latest" },
                { "python:3.11", "docker.io/library/python:3.11" },
                { "team/app", "docker.io/team/app:latest" },
                { "docker.io/app", "docker.io/library/app:latest" },
                { "docker://index.docker.io/library/x:1", "docker.io/library/x:1" },
                { "localhost/a", "localhost/a:latest" },
                { "localhost:5000/a/b:c", "localhost:5000/a/b:c" },
                { "[::1]:5000/a", "[::1]:5000/a:latest" },
                { "registry.example.com/a", "registry.example.com/a:latest" },
                { "a/b-c__d.e/f--g:_T.1-", "docker.io/a/b-c__d.e/f--g:_T.1-" },
                { "a@sha256:" HEX, "docker.io/library/a@sha256:" HEX },
                { "a:tag@sha256:" HEX, "docker.io/library/a@sha256:" HEX },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                CHECK_STR(full(cases[i][0]), cases[i][1]);
                CHECK_STR(full(cases[i][1]), cases[i][1]); /* which is a reference to the same */
        }
}

TEST(parts_of_references)
{
        CHECK(*full("docker-archive:/x y.tar:app:1"));
        CHECK_INT(ref.kind, IMAGE_DOCKER_ARCHIVE);
        CHECK_STR(ref.path, "/x y.tar");
        CHECK_STR(ref.tag, "app:1");
        CHECK(*full("registry.example.com:443/team/app:1"));
        CHECK_INT(ref.kind, IMAGE_REGISTRY);
        CHECK_STR(ref.host, "registry.example.com:443");
        CHECK_STR(ref.repo, "team/app");
        CHECK_STR(ref.tag, "1");
        CHECK_STR(ref.hex, "");
        CHECK(*full("app:1@sha256:" HEX));
        CHECK_STR(ref.tag, "");
        CHECK_STR(ref.hex, HEX);
        CHECK(*full("host"));
        CHECK_INT(ref.kind, IMAGE_HOST);
}

static void refused(const char *const *cases)
{
        for (; *cases; cases++) {
                if (*full(*cases))
                        test_fail(__FILE__, __LINE__, "'%s' is taken for %s", *cases, name);
                CHECK_INT(e.code, ERR_INVALID_SPEC);
                CHECK(e.msg[0] && !strpbrk(e.msg, "\n\t\033\177"));
        }
}

TEST(paths_and_urls_are_no_references)
{
        refused((const char *const[]){ "", "/etc", "../../etc", "./x", "~/x", "https://example.com/x", "docker://https://x", NULL });
}

TEST(local_sources_have_a_path)
{
        refused((const char *const[]){ "oci:", "dir:", "oci:layout:", "oci::v1", "docker-archive:", NULL });
}

TEST(registries_are_hosts)
{
        refused((const char *const[]){ "a..b/c", "-a.b/c", ".a.b/c", "a.b-/c", "a.b:0/c", "a.b:65536/c", "a.b:/c", "a.b:x/c", "[::1/c",
                                       "[]/c:1", "[zz]:1/c", "a_b.c/d", "docker://oci:3/b", "docker://oci-archive:3/b", NULL });
}

TEST(repositories_are_small_words)
{
        refused((const char *const[]){ "A/b", "Python", "a b", "a//b", "a/", "-x", "a/-b", "a-", "a/b.", "a___b", "a..b", "a._b",
                                       "\xc3\xa9", "a/%2e%2e", NULL });
}

TEST(tags_and_digests_are_whole)
{
        refused((const char *const[]){ "x:", "x:-y", "x:.y", "x:a b", "x:a/b:", "x:y:z", "x@", "x@sha256:12", "x@md5:00",
                                       "x@sha256:" HEX "0", "@sha256:" HEX,
                                       "x@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", NULL });
}

TEST(control_characters_are_not_repeated)
{
        refused((const char *const[]){ "x\ny", "oci:a\033[2J", "dir:\177", "x\t", NULL });
}

TEST(limits_of_references)
{
        CHECK(*full(filled("x:", 't', IMAGE_TAG_MAX, "")));
        CHECK(!*full(filled("x:", 't', IMAGE_TAG_MAX + 1, "")));
        CHECK(*full(filled("a/", 'r', IMAGE_REPO_MAX - 2, "")));
        CHECK(!*full(filled("a/", 'r', IMAGE_REPO_MAX - 1, "")));
        CHECK(*full(filled("", 'r', IMAGE_REPO_MAX - 8, ""))); /* library/ counts */
        CHECK(!*full(filled("", 'r', IMAGE_REPO_MAX - 7, "")));
        CHECK(*full(filled("a.", 'h', IMAGE_HOST_MAX - 2, "/x")));
        CHECK(!*full(filled("a.", 'h', IMAGE_HOST_MAX - 1, "/x")));
        CHECK(!*full(filled("", 'x', 10000, "")));
        CHECK(*full(filled("dir:", 'p', IMAGE_PATH_MAX, "")));
        CHECK(!*full(filled("dir:", 'p', IMAGE_PATH_MAX + 1, "")));
        CHECK(*full(filled("oci:a:", 't', IMAGE_LOCAL_TAG_MAX, "")));
        CHECK(!*full(filled("oci:a:", 't', IMAGE_LOCAL_TAG_MAX + 1, "")));
}

TEST(the_longest_name_is_whole)
{
        static char text[IMAGE_NAME_MAX + 1];

        snprintf(text, sizeof(text), "%s", filled("docker-archive:", 'p', IMAGE_PATH_MAX, ":"));
        memset(text + strlen(text), 't', IMAGE_LOCAL_TAG_MAX);
        CHECK_STR(full(text), text);
}

TEST(a_refused_reference_changes_nothing)
{
        CHECK(*full("team/app:1"));
        CHECK(!*full("team/app:"));
        CHECK_STR(ref.repo, "team/app");
        CHECK_STR(ref.tag, "1");
}

TEST(loopback_is_loopback_only)
{
        static const struct {
                const char *text;
                bool loopback;
        } cases[] = {
                { "localhost/a:1", true },
                { "localhost:5000/a:1", true },
                { "127.0.0.1:5000/a", true },
                { "127.9.9.9/a", true },
                { "[::1]:5000/a", true },
                { "localhost.example.com/a", false },
                { "127.example.com/a", false },
                { "128.0.0.1/a", false },
                { "127.0.0.1.example.com/a", false },
                { "[::2]:5000/a", false },
                { "127.0.0.1.5/a", false },
                { "python", false },
                { "oci:localhost", false },
                { "host", false },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                CHECK(*full(cases[i].text));
                if (image_ref_is_loopback(&ref) != cases[i].loopback)
                        test_fail(__FILE__, __LINE__, "'%s' is taken for what it is not", cases[i].text);
        }
}

TEST(hex_is_64_small_digits)
{
        CHECK(image_is_hex(HEX));
        CHECK(!image_is_hex(""));
        CHECK(!image_is_hex(HEX "0"));
        CHECK(!image_is_hex(&HEX[1]));
        CHECK(!image_is_hex("A123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
        CHECK(!image_is_hex("../3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
}
