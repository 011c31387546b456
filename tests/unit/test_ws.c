/* WebSocket frames, and what belongs to them: SHA-1 and the handshake, by the vectors of their standards; times for people. */
#include "test.h"

#include "base/sha1.h"
#include "base/time.h"
#include "wire/ws.h"

static void check_sha1(const char *text, const char *want)
{
        uint8_t out[SHA1_LEN];
        char hex[2 * SHA1_LEN + 1];

        sha1(text, strlen(text), out);
        for (int i = 0; i < SHA1_LEN; i++)
                snprintf(hex + 2 * i, 3, "%02x", out[i]);
        CHECK_STR(hex, want);
}

TEST(sha1_vectors)
{
        static char long_text[1000001];

        check_sha1("", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        check_sha1("abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
        check_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        memset(long_text, 'a', 1000000);
        check_sha1(long_text, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

TEST(handshake)
{
        char out[WS_ACCEPT_LEN + 1];

        CHECK(ws_accept("dGhlIHNhbXBsZSBub25jZQ==", out)); /* RFC 6455, 1.3 */
        CHECK_STR(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        CHECK(!ws_accept("", out) && !ws_accept("dGhlIHNhbXBsZSBub25jZQ=", out) && !ws_accept("dGhlIHNhbXBsZSBub25jZQ==x", out));
        CHECK(!ws_accept("!!!!!!!!!!!!!!!!!!!!!!==", out));
}

static void round_trip(size_t n, bool masked)
{
        static uint8_t data[WS_PAYLOAD_MAX], room[WS_PAYLOAD_MAX + WS_HEADER_MAX + 1];
        static const uint8_t mask[4] = { 1, 2, 3, 250 };
        struct wbuf w = wbuf_over(room, sizeof(room));
        struct ws_frame f;
        size_t used = 0;

        for (size_t i = 0; i < n; i++)
                data[i] = (uint8_t)(i * 7);
        ws_put(&w, WS_BINARY, masked ? mask : NULL, data, n);
        CHECK(!w.bad);
        size_t len = w.len;
        for (size_t cut = 0; cut < len; cut += cut < 32 ? 1 : 997)
                CHECK_INT(ws_parse(room, cut, masked, &f, &used), 0);
        CHECK_INT(ws_parse(room, len, masked, &f, &used), 1);
        CHECK(used == len && f.len == n && f.fin && f.opcode == WS_BINARY && memcmp(f.payload, data, n) == 0);
}

TEST(frames_of_every_size)
{
        static const size_t sizes[] = { 0, 1, 2, 3, 4, 5, 125, 126, 127, 65534, 65535, 65536 };

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                round_trip(sizes[i], true);
                round_trip(sizes[i], false);
        }
}

TEST(what_is_no_frame)
{
        static const struct {
                const char *what;
                size_t len;
                uint8_t bytes[16];
        } cases[] = {
                { "reserved bits", 6, { 0xc2, 0x80, 0, 0, 0, 0 } },
                { "an opcode that there is not", 6, { 0x83, 0x80, 0, 0, 0, 0 } },
                { "no mask", 2, { 0x82, 0x00 } },
                { "a control frame in pieces", 6, { 0x09, 0x80, 0, 0, 0, 0 } },
                { "a control frame of 126 bytes", 8, { 0x89, 0xfe, 0, 126, 0, 0, 0, 0 } },
                { "more than the maximum", 14, { 0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0 } },
                { "a length with its highest bit", 14, { 0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 } },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t copy[16];
                struct ws_frame f;
                size_t used;

                memcpy(copy, cases[i].bytes, sizeof(copy));
                if (ws_parse(copy, cases[i].len, true, &f, &used) != -1)
                        test_fail(__FILE__, __LINE__, "%s is taken", cases[i].what);
        }
}

TEST(times)
{
        char text[TIME_TEXT_MAX];

        CHECK_STR(time_format(0, text), "1970-01-01T00:00:00.000Z");
        CHECK_STR(time_format(951782400123, text), "2000-02-29T00:00:00.123Z");
        CHECK_STR(time_format(4102444799999, text), "2099-12-31T23:59:59.999Z");
}
