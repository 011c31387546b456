#include "test.h"

#include "domain/image_ref.h"
#include "services/image/manifest.h"
#include "services/image/unpack/path.h"
#include "wire/image_answer.h"

TEST(references_have_a_name_in_full)
{
        static const char *const cases[][2] = {
                { "host", "host" },
                { "dir:/srv/rootfs", "dir:/srv/rootfs" },
                { "oci:layout:v1", "oci:layout:v1" },
                { "docker-archive:x.tar:localhost/a:1", "docker-archive:x.tar:localhost/a:1" },
                { "python", "docker.io/library/python:latest" },
                { "python:3.11", "docker.io/library/python:3.11" },
                { "team/app", "docker.io/team/app:latest" },
                { "docker://index.docker.io/library/x:1", "docker.io/library/x:1" },
                { "localhost:5000/a/b:c", "localhost:5000/a/b:c" },
                { "registry.example.com/a", "registry.example.com/a:latest" },
                { "a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                  "docker.io/library/a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
        };
        static struct image_ref ref;
        static char name[IMAGE_NAME_MAX + 1];
        struct err e;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                CHECK_INT(image_ref_parse(cases[i][0], &ref, &e), 0);
                image_ref_format(&ref, name, sizeof(name));
                CHECK_STR(name, cases[i][1]);
        }
}

TEST(what_is_no_reference_is_refused)
{
        static const char *const cases[] = { "",     "../../etc", "/etc", "./x",         "~/x",      "https://example.com/x",
                                             "A/b",  "a b",       "x:",   "x@sha256:12", "x@md5:00", "x\ny",
                                             "oci:", "dir:",      "a//b", "-x",          "x:-y" };
        static struct image_ref ref;
        struct err e;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                if (image_ref_parse(cases[i], &ref, &e) == 0)
                        test_fail(__FILE__, __LINE__, "'%s' is taken for a reference", cases[i]);
                CHECK_INT(e.code, ERR_INVALID_SPEC);
        }
}

TEST(loopback_is_loopback_only)
{
        static const struct {
                const char *text;
                bool loopback;
        } cases[] = {
                { "localhost/a:1", true },      { "localhost:5000/a:1", true }, { "127.0.0.1:5000/a", true },
                { "127.9.9.9/a", true },        { "[::1]:5000/a", true },       { "localhost.example.com/a", false },
                { "127.example.com/a", false }, { "128.0.0.1/a", false },       { "python", false },
        };
        static struct image_ref ref;
        struct err e;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                CHECK_INT(image_ref_parse(cases[i].text, &ref, &e), 0);
                if (image_ref_is_loopback(&ref) != cases[i].loopback)
                        test_fail(__FILE__, __LINE__, "'%s' is taken for what it is not", cases[i].text);
        }
}

TEST(names_in_layers_stay_below)
{
        static const struct {
                const char *name, *path; /* NULL: refused */
        } cases[] = {
                { "usr/bin/x", "usr/bin/x" },
                { "./usr//./bin/", "usr/bin" },
                { "/etc/passwd", "etc/passwd" },
                { ".", "" },
                { "../x", NULL },
                { "a/../b", NULL },
                { "a/..", NULL },
                { "", NULL },
        };
        static struct layer_path path;
        struct err e;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                CHECK_INT(layer_path_parse(cases[i].name, &path, &e) == 0, cases[i].path != NULL);
                if (cases[i].path)
                        CHECK_STR(path.text, cases[i].path);
        }
}

TEST(whiteouts)
{
        const char *name;

        CHECK_INT(layer_whiteout_of("name", &name), LAYER_PLAIN);
        CHECK_INT(layer_whiteout_of(".wh.name", &name), LAYER_WHITEOUT);
        CHECK_STR(name, "name");
        CHECK_INT(layer_whiteout_of(".wh..wh..opq", &name), LAYER_OPAQUE);
        CHECK_INT(layer_whiteout_of(".wh..wh.plnk", &name), LAYER_AUFS);
        CHECK_INT(layer_whiteout_of(".wh..", &name), LAYER_WHITEOUT_BAD);
        CHECK_INT(layer_whiteout_of(".wh.", &name), LAYER_WHITEOUT_BAD);
}

TEST(answers_come_back_as_they_went)
{
        static const char *const env[] = { "PATH=/bin", "A=", NULL }, *const cmd[] = { "ls", "-l", NULL };
        static struct image_answer a = { .ok = true, .layer_count = 1, .env = { 2, env }, .cmd = { 2, cmd }, .cwd = "/tmp", .user = "app" },
                                   b;
        static uint8_t bytes[IMAGE_ANSWER_MAX], arena[IMAGE_ANSWER_ARENA];

        memset(a.layers[0], 'a', IMAGE_ANSWER_HEX);
        snprintf(a.id, sizeof(a.id), "sha256:%.64s", a.layers[0]);
        struct wbuf w = wbuf_over(bytes, sizeof(bytes));
        image_answer_put(&w, &a);
        CHECK(!w.bad);
        CHECK_INT(image_answer_get(w.data, w.len, arena, sizeof(arena), &b), 0);
        CHECK_STR(b.id, a.id);
        CHECK_STR(b.layers[0], a.layers[0]);
        CHECK_STR(b.env.items[0], "PATH=/bin");
        CHECK_STR(b.cmd.items[1], "-l");
        CHECK_INT(b.entrypoint.count, 0);
        CHECK_STR(b.cwd, "/tmp");
        CHECK(image_answer_get(w.data, w.len - 1, arena, sizeof(arena), &b) < 0);
        CHECK(image_answer_get(w.data, w.len + 1, arena, sizeof(arena), &b) < 0);
}

TEST(configurations_are_read_strictly)
{
        static const struct {
                const char *json;
                int code; /* 0: taken */
        } cases[] = {
                { "{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Env\":[\"A=b\",\"novalue\"]}}", 0 },
                { "{\"rootfs\":{\"diff_ids\":[]},\"config\":null}", 0 },
                { "{\"rootfs\":{\"diff_ids\":[\"sha256:12\"]}}", ERR_INVALID_SPEC },
                { "{\"rootfs\":{\"diff_ids\":[]},\"config\":{\"Env\":\"A=b\"}}", ERR_INVALID_SPEC },
                { "{\"rootfs\":{\"diff_ids\":[]},\"os\":\"windows\"}", ERR_NOT_SUPPORTED },
                { "{\"rootfs\":{}}", ERR_INVALID_SPEC },
                { "[]", ERR_INVALID_SPEC },
                { "{", ERR_INVALID_SPEC },
        };
        static struct config c;
        struct err e;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                int r = config_parse(cases[i].json, strlen(cases[i].json), &c, &e);

                CHECK_INT(r, -cases[i].code);
                if (r == 0)
                        config_release(&c);
        }
}
