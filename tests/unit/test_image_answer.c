/* Answers of creto-image: round trips, every limit, every truncation, and lent memory that is too little. */
#include "wire/image_answer.h"

#include "test.h"

static uint8_t mem[2 * IMAGE_ANSWER_MAX];
static uint8_t arena[IMAGE_ANSWER_ARENA + 1];
static struct image_answer out;

static const char *const env[] = { "PATH=/bin", "A=", NULL };
static const char *const cmd[] = { "ls", "-l", NULL };

static void image(struct image_answer *a)
{
        *a = (struct image_answer){ .ok = true, .layer_count = 2, .env = { 2, env }, .cmd = { 2, cmd }, .cwd = "/tmp", .user = "app" };
        memset(a->layers[0], 'a', IMAGE_ANSWER_HEX);
        memset(a->layers[1], '0', IMAGE_ANSWER_HEX);
        snprintf(a->id, sizeof(a->id), "sha256:%.64s", a->layers[0]);
}

static struct wbuf written(const struct image_answer *a)
{
        struct wbuf w = wbuf_over(mem, sizeof(mem));

        image_answer_put(&w, a);
        return w;
}

static int read_back(const struct wbuf *w)
{
        return w->bad ? -2 : image_answer_get(w->data, w->len, arena, IMAGE_ANSWER_ARENA, &out);
}

/* Encodes and decodes. */
static int there_and_back(const struct image_answer *a)
{
        struct wbuf w = written(a);

        return read_back(&w);
}

/*
 * Decodes the answer in a block of exactly its size (so that a sanitizer sees the first byte beyond), every beginning of it, and it with one
 * byte more. Returns true where only the whole was taken.
 */
static bool exact(const struct wbuf *w)
{
        bool right = !w->bad;

        for (size_t len = 0; len <= w->len + 1; len++) {
                uint8_t *copy = calloc(1, len ? len : 1);

                memcpy(copy, w->data, len < w->len ? len : w->len);
                if ((image_answer_get(copy, len, arena, IMAGE_ANSWER_ARENA, &out) == 0) != (len == w->len))
                        right = false;
                free(copy);
        }
        return right;
}

TEST(images_come_back_as_they_went)
{
        static struct image_answer a;

        image(&a);
        struct wbuf w = written(&a);
        CHECK(exact(&w));
        CHECK_INT(read_back(&w), 0);
        CHECK(out.ok);
        CHECK_STR(out.id, a.id);
        CHECK_INT(out.layer_count, 2);
        CHECK_STR(out.layers[0], a.layers[0]);
        CHECK_STR(out.layers[1], a.layers[1]);
        CHECK_INT(out.env.count, 2);
        CHECK_STR(out.env.items[0], "PATH=/bin");
        CHECK_STR(out.env.items[1], "A=");
        CHECK(!out.env.items[2]);
        CHECK_INT(out.entrypoint.count, 0);
        CHECK(!out.entrypoint.items[0]);
        CHECK_STR(out.cmd.items[1], "-l");
        CHECK_STR(out.cwd, "/tmp");
        CHECK_STR(out.user, "app");
}

TEST(errors_come_back_as_they_went)
{
        static struct image_answer a = { .error = { ERR_IMAGE_NOT_FOUND, 0, "there is no tag 'm\xc3\xbcll'", "look for another" } };
        struct wbuf w = written(&a);

        CHECK(exact(&w));
        CHECK_INT(read_back(&w), 0);
        CHECK(!out.ok);
        CHECK_INT(out.error.code, ERR_IMAGE_NOT_FOUND);
        CHECK_STR(out.error.msg, a.error.msg);
        CHECK_STR(out.error.hint, "look for another");
        a.error.code = ERR_NONE;
        CHECK_INT(there_and_back(&a), -1);
        a.error.code = ERR_CODE_COUNT;
        CHECK_INT(there_and_back(&a), -1);
        a.error.code = ERR_TIMEOUT;
        memset(a.error.hint, 'x', sizeof(a.error.hint) - 1);
        CHECK_INT(there_and_back(&a), 0);
        CHECK_STR(out.error.hint, a.error.hint);
}

/* An image says what it likes, and an error that quotes it is written to a terminal. */
TEST(errors_do_not_speak_to_terminals)
{
        static const char *const bad[] = { "a\033[2J", "\r", "a\nb", "\177", "\t", "x\xc2\x9bm", "\xc2\x80" };
        static const char *const clean[] = { "a?[2J", "?", "a?b", "?", "?", "x??m", "??" };
        static struct image_answer a;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                a = (struct image_answer){ .error = { .code = ERR_INVALID_SPEC } };
                snprintf(a.error.msg, sizeof(a.error.msg), "%s", bad[i]);
                CHECK_INT(there_and_back(&a), -1);
                image_answer_clean(a.error.msg);
                CHECK_STR(a.error.msg, clean[i]);
                CHECK_INT(there_and_back(&a), 0);
                snprintf(a.error.hint, sizeof(a.error.hint), "%s", bad[i]);
                CHECK_INT(there_and_back(&a), -1);
        }
        snprintf(a.error.msg, sizeof(a.error.msg), "%s", "gr\xc3\xbc\xc3\x9f \xc2\xa0 \xe2\x82\xac \xc2");
        image_answer_clean(a.error.msg);
        CHECK_STR(a.error.msg, "gr\xc3\xbc\xc3\x9f \xc2\xa0 \xe2\x82\xac \xc2");
}

TEST(ids_and_layers_are_digests)
{
        static struct image_answer a;

        image(&a);
        a.id[0] = 'S';
        CHECK_INT(there_and_back(&a), -1);
        image(&a);
        a.id[70] = '\0';
        CHECK_INT(there_and_back(&a), -1);
        image(&a);
        a.layers[1][0] = 'A';
        CHECK_INT(there_and_back(&a), -1);
        image(&a);
        a.layers[1][63] = '\0';
        CHECK_INT(there_and_back(&a), -1);
        image(&a);
        memcpy(a.layers[0], "../", 3);
        CHECK_INT(there_and_back(&a), -1);
}

TEST(limits_of_answers)
{
        static const char *many[IMAGE_ANSWER_STRINGS_MAX + 1];
        static struct image_answer a;

        image(&a);
        for (uint32_t i = 0; i < IMAGE_ANSWER_LAYERS_MAX; i++)
                memcpy(a.layers[i], a.layers[0], sizeof(a.layers[0]));
        a.layer_count = IMAGE_ANSWER_LAYERS_MAX;
        CHECK_INT(there_and_back(&a), 0);
        struct wbuf w = written(&a);
        mem[4 + 1 + 4 + 71]++; /* the count of layers */
        CHECK_INT(read_back(&w), -1);
        image(&a);
        for (size_t i = 0; i < IMAGE_ANSWER_STRINGS_MAX + 1; i++)
                many[i] = "";
        a.entrypoint = (struct image_answer_list){ IMAGE_ANSWER_STRINGS_MAX, many };
        CHECK_INT(there_and_back(&a), 0);
        CHECK_INT(out.entrypoint.count, IMAGE_ANSWER_STRINGS_MAX);
        a.entrypoint.count++;
        CHECK_INT(there_and_back(&a), -1);
}

TEST(strings_have_no_nul)
{
        static struct image_answer a;

        image(&a);
        struct wbuf w = written(&a);
        uint8_t *at = memmem(mem, w.len, "/tmp", 4);
        CHECK(at);
        at[3] = 0;
        CHECK_INT(read_back(&w), -1);
}

TEST(what_is_no_answer)
{
        static struct image_answer a;

        image(&a);
        struct wbuf w = written(&a);
        mem[0] ^= 1;
        CHECK_INT(read_back(&w), -1);
        mem[0] ^= 1;
        mem[4] = 2; /* neither an image nor an error */
        CHECK_INT(read_back(&w), -1);
        memset(mem, 0xff, 64);
        CHECK_INT(read_back(&w), -1);
}

/* The largest answer of all fits in the memory that is said to be enough, wherever that begins. */
TEST(the_arena_is_enough)
{
        static const char *many[IMAGE_ANSWER_STRINGS_MAX];
        static char text[IMAGE_ANSWER_MAX];
        static struct image_answer a;

        image(&a);
        a.layer_count = 0;
        for (size_t i = 0; i < IMAGE_ANSWER_STRINGS_MAX; i++)
                many[i] = "";
        a.env = a.entrypoint = a.cmd = (struct image_answer_list){ IMAGE_ANSWER_STRINGS_MAX, many };
        a.cwd = "";
        struct wbuf w = written(&a);
        memset(text, 'x', IMAGE_ANSWER_MAX - w.len);
        a.cwd = text;
        w = written(&a);
        CHECK_INT(w.len, IMAGE_ANSWER_MAX);
        CHECK_INT(image_answer_get(w.data, w.len, arena, IMAGE_ANSWER_ARENA, &out), 0);
        CHECK_INT(image_answer_get(w.data, w.len, arena + 1, IMAGE_ANSWER_ARENA, &out), 0);
        CHECK_STR(out.cwd, text);
        text[strlen(text)] = 'x'; /* one byte more */
        w = written(&a);
        CHECK_INT(image_answer_get(w.data, w.len, arena, IMAGE_ANSWER_ARENA, &out), -1);
}

TEST(too_little_memory_is_no_answer)
{
        static struct image_answer a;
        size_t enough = 0;

        image(&a);
        struct wbuf w = written(&a);
        for (size_t cap = 0; cap < 512; cap++) {
                uint8_t *little = malloc(cap ? cap : 1);
                bool taken = image_answer_get(w.data, w.len, little, cap, &out) == 0;

                free(little);
                CHECK(taken || !enough);
                if (taken && !enough)
                        enough = cap;
        }
        CHECK(enough > 0);
}

TEST(an_answer_that_does_not_fit_is_not_written)
{
        static struct image_answer a;

        image(&a);
        size_t len = written(&a).len;
        struct wbuf w = wbuf_over(mem, len - 1);
        image_answer_put(&w, &a);
        CHECK(w.bad);
        w = wbuf_over(mem, len);
        image_answer_put(&w, &a);
        CHECK(!w.bad);
}
