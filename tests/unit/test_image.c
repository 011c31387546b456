/* Images as they come: manifests and configurations, names in layers, digests, and what is said about what is wrong with them. */
#include "services/image/manifest.h"

#include <sys/mman.h>
#include <unistd.h>

#include "domain/image_ref.h"
#include "services/image/answer.h"
#include "services/image/digest.h"
#include "services/image/unpack/path.h"
#include "test.h"
#include "wire/image_answer.h"

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define A "\"digest\":\"sha256:" A64 "\",\"size\":1"
#define B "\"digest\":\"sha256:" B64 "\",\"size\":2"
#define OCI "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\""
#define INDEX "\"mediaType\":\"application/vnd.oci.image.index.v1+json\""
#define DOCKER "\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\""
#define CONFIG "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\"," A "}"
#define LAYER "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\"," B "}"
#define TAG(name) "\"annotations\":{\"org.opencontainers.image.ref.name\":\"" name "\"}"

static struct err e;

/* Text that grows; one at a time. */
static char text[MANIFEST_JSON_MAX + 4096];
static size_t text_len;

static void begin(const char *s)
{
        text_len = 0;
        text[0] = '\0';
        text_len = (size_t)snprintf(text, sizeof(text), "%s", s);
}

static void add(const char *s)
{
        size_t len = strlen(s);

        memcpy(text + text_len, s, len + 1);
        text_len += len;
}

/* `n` times the same, with commas between. */
static void add_many(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                add(i ? "," : "");
                add(s);
        }
}

static void add_filled(size_t n)
{
        memset(text + text_len, 'x', n);
        text_len += n;
        text[text_len] = '\0';
}

/* ---- what a document is ---- */

TEST(documents_are_what_they_say_or_look_like)
{
        static const struct {
                const char *json;
                enum manifest_media kind;
        } cases[] = {
                { "{" OCI "}", MEDIA_OCI },
                { "{" DOCKER "}", MEDIA_DOCKER },
                { "{" INDEX "}", MEDIA_INDEX },
                { "{\"mediaType\":\"application/vnd.docker.distribution.manifest.list.v2+json\"}", MEDIA_INDEX },
                { "{\"mediaType\":\"application/vnd.docker.distribution.manifest.v1+prettyjws\"}", MEDIA_DOCKER_V1 },
                { "{\"schemaVersion\":1}", MEDIA_DOCKER_V1 },
                { "{\"schemaVersion\":2,\"manifests\":[]}", MEDIA_INDEX },
                { "{\"schemaVersion\":2,\"layers\":[]}", MEDIA_OCI },
                { "{" OCI ",\"manifests\":[],\"layers\":[]}", MEDIA_OTHER }, /* two things at once are neither */
                { "{" INDEX ",\"manifests\":[],\"config\":{}}", MEDIA_OTHER },
                { "{\"mediaType\":\"text/plain\",\"layers\":[]}", MEDIA_OTHER },
                { "{\"layers\":{}}", MEDIA_OTHER },
                { "{}", MEDIA_OTHER },
                { "[]", MEDIA_OTHER },
                { "{", MEDIA_OTHER },
                { "", MEDIA_OTHER },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                if (manifest_kind(cases[i].json, strlen(cases[i].json)) != cases[i].kind)
                        test_fail(__FILE__, __LINE__, "%s is %d", cases[i].json, manifest_kind(cases[i].json, strlen(cases[i].json)));
}

/* ---- indexes ---- */

static struct manifest_blob chosen;
static bool nested;

static int choose(const char *entries, const char *tag)
{
        begin("{\"schemaVersion\":2,\"manifests\":");
        add(entries);
        add("}");
        return manifest_choose(text, text_len, tag, &chosen, &nested, &e);
}

TEST(an_index_is_chosen_from_by_tag)
{
        static const char two[] = "[{" OCI "," A "," TAG("1") "},{" OCI "," B "," TAG("registry.example.com:5000/x:2") "}]";

        CHECK_INT(choose(two, "1"), 0);
        CHECK_STR(chosen.hex, A64);
        CHECK_INT(chosen.size, 1);
        CHECK(!nested);
        CHECK_INT(choose(two, "2"), 0);
        CHECK_STR(chosen.hex, B64);
        CHECK_INT(choose(two, "registry.example.com:5000/x:2"), 0);
        CHECK_INT(choose(two, NULL), 0);
        CHECK_STR(chosen.hex, A64);
        CHECK_INT(choose(two, "3"), -(int)ERR_IMAGE_NOT_FOUND);
        CHECK(strstr(e.hint, "1, registry.example.com:5000/x:2"));
        CHECK_INT(choose(two, ""), -(int)ERR_INVALID_SPEC); /* which? */
        CHECK_INT(choose("[{" OCI "," A "},{" OCI "," A "}]", ""), 0);
        CHECK_INT(choose("[{" INDEX "," A "}]", ""), 0);
        CHECK(nested);
}

TEST(an_index_is_chosen_from_by_machine)
{
        static char entries[1024];
        static const char *const others[] = { "\"os\":\"windows\"", "\"os\":\"linux\",\"architecture\":\"none\"", "" };

        snprintf(entries, sizeof(entries),
                 "[{" OCI "," A ",\"platform\":{\"os\":\"linux\",\"architecture\":\"none\"}},{" OCI "," B
                 ",\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}}]",
                 manifest_arch());
        CHECK_INT(choose(entries, NULL), 0);
        CHECK_STR(chosen.hex, B64);
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                snprintf(entries, sizeof(entries), "[{" OCI "," A ",\"platform\":{%s}}]", others[i]);
                CHECK_INT(choose(entries, NULL), -(int)ERR_IMAGE_NOT_FOUND);
                CHECK(strstr(e.msg, manifest_arch()));
        }
        CHECK_INT(choose("[{" OCI "," A ",\"platform\":null}]", NULL), 0);
}

TEST(entries_that_are_no_images_are_passed_over)
{
        CHECK_INT(choose("[{\"mediaType\":\"text/plain\"," A "},1,null,{" OCI "," B "}]", ""), 0);
        CHECK_STR(chosen.hex, B64);
        CHECK_INT(choose("[]", NULL), -(int)ERR_IMAGE_NOT_FOUND);
        CHECK_INT(choose("[{" A "}]", NULL), -(int)ERR_IMAGE_NOT_FOUND);
        CHECK_INT(choose("{}", NULL), -(int)ERR_INVALID_SPEC);
        CHECK_INT(choose("null", NULL), -(int)ERR_INVALID_SPEC);
        CHECK_INT(manifest_choose("[]", 2, NULL, &chosen, &nested, &e), -(int)ERR_INVALID_SPEC);
}

TEST(a_bad_entry_changes_nothing)
{
        static const char *const bad[] = { "\"size\":1", "\"digest\":\"sha256:12\",\"size\":1", "\"digest\":\"sha256:" A64 "\"",
                                           "\"digest\":\"sha512:" A64 "\",\"size\":1", "\"digest\":\"" A64 "\",\"size\":1" };
        static char entries[512];

        CHECK_INT(choose("[{" OCI "," A "}]", NULL), 0);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                snprintf(entries, sizeof(entries), "[{" INDEX ",%s}]", bad[i]);
                CHECK_INT(choose(entries, NULL), -(int)ERR_INVALID_SPEC);
                CHECK_STR(chosen.hex, A64);
                CHECK(!nested);
        }
}

TEST(limits_of_indexes)
{
        begin("{\"manifests\":[");
        add_many("{" OCI "," A "}", MANIFEST_ENTRIES_MAX);
        add("]}");
        CHECK_INT(manifest_choose(text, text_len, NULL, &chosen, &nested, &e), 0);
        begin("{\"manifests\":[");
        add_many("1", MANIFEST_ENTRIES_MAX + 1);
        add("]}");
        CHECK_INT(manifest_choose(text, text_len, NULL, &chosen, &nested, &e), -(int)ERR_RESOURCE_EXHAUSTED);
        CHECK(strstr(e.msg, "4097") && strstr(e.msg, "4096"));
}

/* ---- manifests ---- */

static struct manifest got;

static int parse(const char *json)
{
        return manifest_parse(json, strlen(json), &got, &e);
}

TEST(manifests_are_taken)
{
        CHECK_INT(parse("{" OCI "," CONFIG ",\"layers\":[" LAYER "," LAYER "]}"), 0);
        CHECK_INT(got.media, MEDIA_OCI);
        CHECK_STR(got.config.hex, A64);
        CHECK_INT(got.config.size, 1);
        CHECK_INT(got.layer_count, 2);
        CHECK_STR(got.layers[1].hex, B64);
        CHECK_INT(got.layers[1].size, 2);
        CHECK_STR(got.layers[1].media, "application/vnd.oci.image.layer.v1.tar+gzip");
        CHECK_INT(parse("{" DOCKER ",\"config\":{\"mediaType\":\"application/vnd.docker.container.image.v1+json\"," A "},\"layers\":[]}"),
                  0);
        CHECK_INT(got.media, MEDIA_DOCKER);
        CHECK_INT(got.layer_count, 0);
        CHECK_INT(parse("{" CONFIG ",\"layers\":[]}"), 0); /* need not say what it is */
}

TEST(manifests_are_read_strictly)
{
        static const struct {
                const char *json;
                enum err_code code;
        } cases[] = {
                { "", ERR_INVALID_SPEC },
                { "[]", ERR_INVALID_SPEC },
                { "{" OCI "}", ERR_INVALID_SPEC },
                { "{" OCI "," CONFIG "}", ERR_INVALID_SPEC },
                { "{" OCI "," CONFIG ",\"layers\":{}}", ERR_INVALID_SPEC },
                { "{" OCI "," CONFIG ",\"layers\":[1]}", ERR_INVALID_SPEC },
                { "{" OCI "," CONFIG ",\"layers\":[]}x", ERR_INVALID_SPEC },
                { "{" OCI "," CONFIG "," CONFIG ",\"layers\":[]}", ERR_INVALID_SPEC }, /* said twice */
                { "{" OCI ",\"config\":{" A "},\"layers\":[]}", ERR_INVALID_SPEC },
                { "{" OCI ",\"config\":{\"mediaType\":\"application/vnd.cncf.helm.config.v1+json\"," A "},\"layers\":[]}",
                  ERR_INVALID_SPEC },
                { "{" OCI "," CONFIG ",\"layers\":[{\"mediaType\":\"text/plain\"," A "}]}", ERR_NOT_SUPPORTED },
                { "{" INDEX "," CONFIG ",\"layers\":[]}", ERR_INVALID_SPEC },
                { "{\"schemaVersion\":1,\"fsLayers\":[]}", ERR_NOT_SUPPORTED },
        };

        CHECK_INT(parse("{" OCI "," CONFIG ",\"layers\":[" LAYER "]}"), 0);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                if (parse(cases[i].json) != -(int)cases[i].code)
                        test_fail(__FILE__, __LINE__, "%s: %s", cases[i].json, e.msg);
                CHECK_STR(got.config.hex, A64); /* nothing has changed */
                CHECK_INT(got.layer_count, 1);
        }
}

static int with_size(const char *size)
{
        begin("{" OCI "," CONFIG ",\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:" B64
              "\",\"size\":");
        add(size);
        add("}]}");
        return parse(text);
}

TEST(sizes_are_whole_numbers)
{
        CHECK_INT(with_size("0"), 0);
        CHECK_INT(with_size("9223372036854775807"), 0);
        CHECK(got.layers[0].size == INT64_MAX);
        CHECK_INT(with_size("9223372036854775808"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_size("-1"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_size("1.0"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_size("1e2"), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_size("\"1\""), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_size("null"), -(int)ERR_INVALID_SPEC);
}

static int with_layers(size_t n)
{
        begin("{" OCI "," CONFIG ",\"layers\":[");
        add_many(LAYER, n);
        add("]}");
        return parse(text);
}

TEST(limits_of_manifests)
{
        CHECK_INT(with_layers(MANIFEST_LAYERS_MAX), 0);
        CHECK_INT(got.layer_count, MANIFEST_LAYERS_MAX);
        CHECK_INT(with_layers(MANIFEST_LAYERS_MAX + 1), -(int)ERR_RESOURCE_EXHAUSTED);
        begin("{" OCI ",\"config\":{" A ",\"mediaType\":\"");
        add_filled(MANIFEST_MEDIA_MAX + 1);
        add("\"},\"layers\":[]}");
        CHECK_INT(parse(text), -(int)ERR_INVALID_SPEC);
        begin("{" OCI "," CONFIG ",\"layers\":[],\"x\":\"");
        add_filled(MANIFEST_JSON_MAX - text_len - 2);
        add("\"}");
        CHECK_INT(text_len, MANIFEST_JSON_MAX);
        CHECK_INT(parse(text), 0);
        add(" ");
        CHECK_INT(parse(text), -(int)ERR_RESOURCE_EXHAUSTED);
}

TEST(json_is_not_nested_without_end)
{
        begin("{\"x\":");
        memset(text + text_len, '[', 1 << 20);
        text_len += 1 << 20;
        text[text_len] = '\0';
        CHECK_INT(parse(text), -(int)ERR_INVALID_SPEC);
}

TEST(a_manifest_that_is_made_is_one)
{
        static struct manifest m;

        CHECK_INT(with_layers(3), 0);
        m = got;
        char *json = manifest_make(&m);
        CHECK(json);
        int r = parse(json);
        CHECK_INT(manifest_kind(json, strlen(json)), MEDIA_OCI);
        free(json);
        CHECK_INT(r, 0);
        CHECK_STR(got.config.hex, A64);
        CHECK_INT(got.layer_count, 3);
        CHECK_STR(got.layers[2].hex, B64);
        CHECK_INT(got.layers[2].size, 2);
        CHECK_STR(got.layers[2].media, "application/vnd.oci.image.layer.v1.tar"); /* as the tar files that they are */
}

/* ---- docker archives ---- */

static struct manifest_docker docker;

static int parse_docker(const char *json, const char *name)
{
        return manifest_docker_parse(json, strlen(json), name, &docker, &e);
}

TEST(docker_archives)
{
        static const char one[] = "[{\"Config\":\"c.json\",\"RepoTags\":null,\"Layers\":[\"a/layer.tar\",\"b/layer.tar\"]}]";
        static const char two[] = "[{\"Config\":\"c.json\",\"RepoTags\":[\"x:1\"]},{\"Config\":\"d.json\",\"RepoTags\":[\"y:latest\"],"
                                  "\"Layers\":null}]";

        CHECK_INT(parse_docker(one, ""), 0);
        CHECK_STR(docker.config, "c.json");
        CHECK_INT(docker.layer_count, 2);
        CHECK_STR(docker.layers[1], "b/layer.tar");
        CHECK_INT(parse_docker(one, "x:1"), -(int)ERR_IMAGE_NOT_FOUND);
        CHECK_INT(parse_docker(two, ""), -(int)ERR_INVALID_SPEC); /* which? */
        CHECK(strstr(e.hint, "x:1"));
        CHECK_INT(parse_docker(two, "y"), 0);
        CHECK_STR(docker.config, "d.json");
        CHECK_INT(docker.layer_count, 0);
        CHECK_INT(parse_docker(two, "x:1"), 0);
        CHECK_INT(parse_docker(two, "x"), -(int)ERR_IMAGE_NOT_FOUND);
        CHECK_INT(parse_docker(two, "x:"), -(int)ERR_IMAGE_NOT_FOUND);
}

TEST(docker_archives_are_read_strictly)
{
        static const char *const cases[] = {
                "[]",
                "{}",
                "[1]",
                "[{}]",
                "[{\"Config\":1}]",
                "[{\"Config\":\"\"}]",
                "[{\"Config\":\"c\",\"Layers\":{}}]",
                "[{\"Config\":\"c\",\"Layers\":[1]}]",
                "[{\"Config\":\"c\",\"Layers\":[\"a\",\"\"]}]",
                "[{\"Config\":\"a\\u0000b\"}]",
        };

        CHECK_INT(parse_docker("[{\"Config\":\"first\"}]", ""), 0);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                if (parse_docker(cases[i], "") != -(int)ERR_INVALID_SPEC)
                        test_fail(__FILE__, __LINE__, "%s: %s", cases[i], e.msg);
                CHECK_STR(docker.config, "first"); /* nothing has changed */
        }
}

static int with_member(size_t n, size_t layers)
{
        begin("[{\"Config\":\"");
        add_filled(n);
        add("\",\"Layers\":[");
        add_many("\"a\"", layers);
        add("]}]");
        return parse_docker(text, "");
}

TEST(limits_of_docker_archives)
{
        CHECK_INT(with_member(MANIFEST_MEMBER_MAX, MANIFEST_LAYERS_MAX), 0);
        CHECK_INT(docker.layer_count, MANIFEST_LAYERS_MAX);
        CHECK_INT(with_member(MANIFEST_MEMBER_MAX + 1, 0), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_member(1, MANIFEST_LAYERS_MAX + 1), -(int)ERR_RESOURCE_EXHAUSTED);
}

/* ---- configurations ---- */

#define ROOTFS "\"rootfs\":{\"diff_ids\":[]}"

static struct config config;

/* Parses and forgets. */
static int try_config(const char *json, size_t len)
{
        int r = config_parse(json, len, &config, &e);

        if (r == 0)
                config_release(&config);
        return r;
}

TEST(configurations_are_taken)
{
        begin("{\"os\":\"linux\",\"architecture\":\"");
        add(manifest_arch());
        add("\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:" A64 "\",\"sha256:" B64
            "\"]},\"config\":{\"Env\":[\"A=b\",\"novalue\",\"=x\",\"C=\"],\"Entrypoint\":[\"/bin/sh\",\"-c\"],\"Cmd\":[\"\"],"
            "\"WorkingDir\":\"/tmp\",\"User\":\"app:1\"}}");
        CHECK_INT(config_parse(text, text_len, &config, &e), 0);
        CHECK_INT(config.layer_count, 2);
        CHECK_STR(config.diff_ids[0], A64);
        CHECK_STR(config.diff_ids[1], B64);
        CHECK_INT(config.env.count, 2); /* what is no assignment is left out */
        CHECK_STR(config.env.items[1], "C=");
        CHECK(!config.env.items[2]);
        CHECK_INT(config.entrypoint.count, 2);
        CHECK_STR(config.entrypoint.items[1], "-c");
        CHECK_INT(config.cmd.count, 1);
        CHECK_STR(config.cmd.items[0], "");
        CHECK_STR(config.cwd, "/tmp");
        CHECK_STR(config.user, "app:1");
        config_release(&config);
}

TEST(configurations_may_say_little)
{
        static const char *const cases[] = { "{" ROOTFS "}", "{" ROOTFS ",\"config\":null}",
                                             "{" ROOTFS ",\"config\":{\"Env\":null,\"Cmd\":null,\"User\":null}}" };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                CHECK_INT(config_parse(cases[i], strlen(cases[i]), &config, &e), 0);
                CHECK(config.layer_count == 0 && config.env.count == 0 && !config.env.items[0] && !config.cmd.items[0]);
                CHECK_STR(config.cwd, "");
                CHECK_STR(config.user, "");
                config_release(&config);
        }
}

TEST(configurations_are_read_strictly)
{
        static const struct {
                const char *json;
                enum err_code code;
        } cases[] = {
                { "{\"rootfs\":{\"diff_ids\":[\"sha256:12\"]}}", ERR_INVALID_SPEC },
                { "{\"rootfs\":{\"diff_ids\":[\"" A64 "\"]}}", ERR_INVALID_SPEC },
                { "{\"rootfs\":{\"diff_ids\":[1]}}", ERR_INVALID_SPEC },
                { "{\"rootfs\":{\"diff_ids\":{}}}", ERR_INVALID_SPEC },
                { "{\"rootfs\":{}}", ERR_INVALID_SPEC },
                { "{}", ERR_INVALID_SPEC },
                { "[]", ERR_INVALID_SPEC },
                { "{", ERR_INVALID_SPEC },
                { "{" ROOTFS "," ROOTFS "}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"config\":[]}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"config\":{\"Env\":\"A=b\"}}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"config\":{\"Env\":[1]}}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"config\":{\"Cmd\":\"ls\"}}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"config\":{\"Entrypoint\":[null]}}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"config\":{\"Cmd\":[\"a\\u0000b\"]}}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"config\":{\"Cmd\":[\"\xff\"]}}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"config\":{\"User\":0}}", ERR_INVALID_SPEC },
                { "{" ROOTFS ",\"os\":\"windows\"}", ERR_NOT_SUPPORTED },
                { "{" ROOTFS ",\"os\":\"linux\",\"architecture\":\"none\"}", ERR_NOT_SUPPORTED },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                if (try_config(cases[i].json, strlen(cases[i].json)) != -(int)cases[i].code)
                        test_fail(__FILE__, __LINE__, "%s: %s", cases[i].json, e.msg);
}

/* A list of `n` times the same, at one place of a configuration. */
static int with_list(const char *before, const char *item, size_t n)
{
        begin(before);
        add_many(item, n);
        add("]}}");
        return try_config(text, text_len);
}

static int with_string(const char *key, size_t len)
{
        begin("{" ROOTFS ",\"config\":{\"");
        add(key);
        add("\":\"");
        add_filled(len);
        add("\"}}");
        return try_config(text, text_len);
}

TEST(limits_of_configurations)
{
        static char large[MANIFEST_STRING_MAX + 4];

        CHECK_INT(with_list("{\"rootfs\":{\"diff_ids\":[", "\"sha256:" A64 "\"", MANIFEST_LAYERS_MAX), 0);
        CHECK_INT(with_list("{\"rootfs\":{\"diff_ids\":[", "\"sha256:" A64 "\"", MANIFEST_LAYERS_MAX + 1), -(int)ERR_RESOURCE_EXHAUSTED);
        CHECK_INT(with_list("{" ROOTFS ",\"config\":{\"Cmd\":[", "\"\"", MANIFEST_STRINGS_MAX), 0);
        CHECK_INT(with_list("{" ROOTFS ",\"config\":{\"Cmd\":[", "\"\"", MANIFEST_STRINGS_MAX + 1), -(int)ERR_RESOURCE_EXHAUSTED);
        CHECK_INT(with_string("WorkingDir", 4095), 0);
        CHECK_INT(with_string("WorkingDir", 4096), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_string("User", 4096), -(int)ERR_INVALID_SPEC);
        memset(large, 'x', sizeof(large) - 1);
        large[0] = large[MANIFEST_STRING_MAX + 1] = '"';
        large[MANIFEST_STRING_MAX + 2] = '\0';
        CHECK_INT(with_list("{" ROOTFS ",\"config\":{\"Cmd\":[", large, 5), 0);
        CHECK_INT(with_list("{" ROOTFS ",\"config\":{\"Cmd\":[", large, 6), -(int)ERR_RESOURCE_EXHAUSTED); /* 768 KiB in all */
        large[MANIFEST_STRING_MAX + 1] = 'x';
        large[MANIFEST_STRING_MAX + 2] = '"';
        CHECK_INT(with_list("{" ROOTFS ",\"config\":{\"Cmd\":[", large, 1), -(int)ERR_INVALID_SPEC);
}

/* ---- names in layers ---- */

TEST(names_in_layers_stay_below)
{
        static const struct {
                const char *name, *path, *base; /* NULL: refused */
                size_t parent;
        } cases[] = {
                { "usr/bin/x", "usr/bin/x", "x", 7 },
                { "./usr//./bin/", "usr/bin", "bin", 3 },
                { "/etc/passwd", "etc/passwd", "passwd", 3 },
                { "///x", "x", "x", 0 },
                { ".", "", "", 0 },
                { "/", "", "", 0 },
                { "./.", "", "", 0 },
                { "...", "...", "...", 0 },
                { "a/..b", "a/..b", "..b", 1 },
                { "a/.wh.b", "a/.wh.b", ".wh.b", 1 },
                { "a b/\xff", "a b/\xff", "\xff", 3 },
                { "../x", NULL, NULL, 0 },
                { "/../x", NULL, NULL, 0 },
                { "a/../b", NULL, NULL, 0 },
                { "a/..", NULL, NULL, 0 },
                { "..", NULL, NULL, 0 },
                { "./..//", NULL, NULL, 0 },
                { "", NULL, NULL, 0 },
        };
        static struct layer_path path;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                int r = layer_path_parse(cases[i].name, &path, &e);

                CHECK_INT(r, cases[i].path ? 0 : -(int)ERR_INVALID_SPEC);
                if (!cases[i].path)
                        continue;
                CHECK_STR(path.text, cases[i].path);
                CHECK_STR(path.base, cases[i].base);
                CHECK_INT(path.parent, cases[i].parent);
        }
}

/* `parts` parts of `len` bytes each. */
static int with_parts(size_t parts, size_t len)
{
        static struct layer_path path;

        begin("");
        for (size_t i = 0; i < parts; i++) {
                add("/");
                add_filled(len);
        }
        return layer_path_parse(text, &path, &e);
}

TEST(limits_of_names)
{
        CHECK_INT(with_parts(1, LAYER_PART_MAX), 0);
        CHECK_INT(with_parts(1, LAYER_PART_MAX + 1), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_parts(LAYER_DEPTH_MAX, 1), 0);
        CHECK_INT(with_parts(LAYER_DEPTH_MAX + 1, 1), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_parts(16, LAYER_PART_MAX), 0); /* 16 × 255 and 15 slashes are 4095 */
        CHECK_INT(with_parts(17, LAYER_PART_MAX), -(int)ERR_INVALID_SPEC);
        CHECK_INT(with_parts(32, 127), 0);
        CHECK_INT(with_parts(32, 128), -(int)ERR_INVALID_SPEC);
}

TEST(whiteouts)
{
        static const struct {
                const char *base;
                enum layer_whiteout what;
                const char *name;
        } cases[] = {
                { "name", LAYER_PLAIN, NULL },          { ".wh", LAYER_PLAIN, NULL },
                { ".whx", LAYER_PLAIN, NULL },          { "", LAYER_PLAIN, NULL },
                { ".wh.name", LAYER_WHITEOUT, "name" }, { ".wh....", LAYER_WHITEOUT, "..." },
                { ".wh..wh", LAYER_WHITEOUT, ".wh" },   { ".wh..wh..opq", LAYER_OPAQUE, NULL },
                { ".wh..wh..opqx", LAYER_AUFS, NULL },  { ".wh..wh.plnk", LAYER_AUFS, NULL },
                { ".wh..wh.", LAYER_AUFS, NULL },       { ".wh..", LAYER_WHITEOUT_BAD, NULL },
                { ".wh...", LAYER_WHITEOUT_BAD, NULL }, { ".wh.", LAYER_WHITEOUT_BAD, NULL },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const char *name = NULL;

                if (layer_whiteout_of(cases[i].base, &name) != cases[i].what)
                        test_fail(__FILE__, __LINE__, "'%s' is %d", cases[i].base, layer_whiteout_of(cases[i].base, &name));
                if (cases[i].name)
                        CHECK_STR(name, cases[i].name);
        }
}

/* ---- digests ---- */

#define SHA_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

TEST(digests_are_sha256)
{
        char hex[DIGEST_HEX + 1];
        auto_digest d = digest_new();

        digest_of("", 0, hex);
        CHECK_STR(hex, SHA_EMPTY);
        digest_of("abc", 3, hex);
        CHECK_STR(hex, SHA_ABC);
        CHECK(image_is_hex(hex));
        digest_add(d, "a", 1);
        digest_add(d, "", 0);
        digest_add(d, "bc", 2);
        digest_end(d, hex);
        CHECK_STR(hex, SHA_ABC);
}

TEST(digests_of_files)
{
        int from = memfd_create("from", MFD_CLOEXEC);
        char hex[DIGEST_HEX + 1];
        uint64_t size = 99;

        CHECK(from >= 0);
        CHECK_INT(digest_fd(from, 0, hex, &size, &e), 0);
        CHECK_STR(hex, SHA_EMPTY);
        CHECK_INT(size, 0);
        CHECK(write(from, "xabc", 4) == 4 && lseek(from, 1, SEEK_SET) == 1);
        CHECK_INT(digest_fd(from, 3, hex, &size, &e), 0);
        CHECK_STR(hex, SHA_ABC);
        CHECK_INT(size, 3);
        CHECK(lseek(from, 0, SEEK_SET) == 0);
        CHECK_INT(digest_fd(from, 3, hex, &size, &e), -(int)ERR_RESOURCE_EXHAUSTED);
        CHECK_INT(digest_fd(-1, 3, hex, &size, &e), -(int)ERR_INTERNAL_ERROR);
        close(from);
}

/* ---- errors ---- */

/* A tag in an index, quoted in a hint, on its way to a terminal. */
TEST(errors_about_images_do_not_speak_to_terminals)
{
        static uint8_t arena[IMAGE_ANSWER_ARENA];
        static struct image_answer a;
        char *said = NULL;
        size_t len = 0;

        CHECK_INT(choose("[{" OCI "," A "," TAG("\\u001b[2J\\u009b1m\\n") "}]", "x"), -(int)ERR_IMAGE_NOT_FOUND);
        CHECK(strchr(e.hint, '\033'));
        FILE *out = open_memstream(&said, &len);
        CHECK(out);
        answer_error(out, ANSWER_WIRE, &e);
        fclose(out);
        int r = image_answer_get(said, len, arena, sizeof(arena), &a);
        free(said);
        CHECK_INT(r, 0);
        CHECK(!a.ok);
        CHECK_INT(a.error.code, ERR_IMAGE_NOT_FOUND);
        CHECK_STR(a.error.hint, "there is: ?[2J??1m?");
}
