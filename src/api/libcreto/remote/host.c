/*
 * What a caller may write as a host. No resolver: the library is also linked into a static program, and an address that a name server chooses is no
 * place to send a key in the clear.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "api/libcreto/remote/conn.h"
#include "base/str.h"

static int wrong(const char *text, struct err *e)
{
        err_set(e, ERR_INVALID_SPEC, 0, "host '%.100s' is neither unix:PATH nor http://ADDR:PORT with a numeric address", text);
        return err_hint(e, "for example --host unix:/run/creto-runtime/runtime.sock or --host http://127.0.0.1:8080");
}

static int parse_unix(const char *path, struct host *out, struct err *e)
{
        struct sockaddr_un *a = (struct sockaddr_un *)&out->address;
        size_t len = strlen(path);

        if (len == 0 || len >= sizeof(a->sun_path))
                return err_set(e, ERR_INVALID_SPEC, 0, "host '%.200s': the path of a socket has 1 to %zu bytes, not %zu", out->text,
                               sizeof(a->sun_path) - 1, len);
        a->sun_family = AF_UNIX;
        memcpy(a->sun_path, path, len + 1);
        out->address_len = sizeof(*a);
        snprintf(out->http_host, sizeof(out->http_host), "localhost");
        return 0;
}

static bool parse_address(const char *name, uint16_t port, struct host *out)
{
        struct sockaddr_in *v4 = (struct sockaddr_in *)&out->address;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->address;
        char inner[64];
        size_t len = strlen(name);

        if (inet_pton(AF_INET, strcmp(name, "localhost") == 0 ? "127.0.0.1" : name, &v4->sin_addr) == 1) {
                v4->sin_family = AF_INET;
                v4->sin_port = htons(port);
                out->address_len = sizeof(*v4);
                return true;
        }
        if (len < 3 || name[0] != '[' || name[len - 1] != ']')
                return false;
        snprintf(inner, sizeof(inner), "%.*s", (int)(len - 2), name + 1);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        out->address_len = sizeof(*v6);
        return inet_pton(AF_INET6, inner, &v6->sin6_addr) == 1;
}

static int parse_http(const char *rest, struct host *out, struct err *e)
{
        char name[64], port[8];
        uint64_t number;
        size_t len = strcspn(rest, "/");
        const char *colon = memrchr(rest, ':', len);

        if (!colon || rest[len + (rest[len] == '/')] != '\0' || colon - rest >= (ptrdiff_t)sizeof(name) ||
            rest + len - colon - 1 >= (ptrdiff_t)sizeof(port))
                return wrong(out->text, e);
        snprintf(name, sizeof(name), "%.*s", (int)(colon - rest), rest);
        snprintf(port, sizeof(port), "%.*s", (int)(rest + len - colon - 1), colon + 1);
        if (!str_parse_u64(port, &number) || number == 0 || number > 65535 || !parse_address(name, (uint16_t)number, out))
                return wrong(out->text, e);
        snprintf(out->http_host, sizeof(out->http_host), "%s:%s", name, port);
        return 0;
}

int host_parse(const char *text, struct host *out, struct err *e)
{
        *out = (struct host){ 0 };
        if (strlen(text) >= sizeof(out->text))
                return wrong(text, e);
        snprintf(out->text, sizeof(out->text), "%s", text);
        if (str_has_prefix(text, "unix:"))
                return parse_unix(text + 5, out, e);
        if (str_has_prefix(text, "http://"))
                return parse_http(text + 7, out, e);
        if (!str_has_prefix(text, "https://"))
                return wrong(text, e);
        err_set(e, ERR_NOT_SUPPORTED, 0, "host '%.100s': this client does not speak TLS", text);
        return err_hint(e, "use the unix socket, or http:// to a tunnel on this machine (ssh -L, stunnel)");
}
