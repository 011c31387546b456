/*
 * Commands of the operator: API keys, health.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "programs/runtime/cli.h"

static int keys_list(struct creto_runtime *rt, int json)
{
        struct creto_key *keys = NULL;
        struct creto_error e;
        char *text = NULL;
        size_t count = 0;
        bool people = isatty(STDOUT_FILENO);

        if (creto_key_list(rt, &keys, &count, &text, &e) < 0)
                return cli_error(&e);
        if (json)
                fputs(text, stdout);
        else if (people)
                printf("%-10s %-20s %-9s %-25s %s\n", "ID", "NAME", "ROLE", "CREATED", "EXPIRES");
        for (size_t i = 0; i < count && !json; i++)
                printf(people ? "%-10s %-20s %-9s %-25s %s\n" : "%s\t%s\t%s\t%s\t%s\n", keys[i].id, keys[i].name, keys[i].role,
                       keys[i].created_at, keys[i].expires_at[0] ? keys[i].expires_at : "-");
        creto_free(keys);
        creto_free(text);
        return 0;
}

static int keys_create(struct creto_runtime *rt, const char *name, const char *role, const char *expires, int json)
{
        struct creto_key key;
        struct creto_error e;
        char *secret = NULL, *text = NULL;
        uint64_t ms = 0;

        if (expires && (!str_parse_ms(expires, &ms) || ms < 1000))
                return cli_usage("keys create --name NAME --role agent|operator|admin [--expires 30d]");
        if (creto_key_create(rt, name, role, ms / 1000, &key, &secret, &text, &e) < 0)
                return cli_error(&e);
        if (json)
                fputs(text, stdout);
        else
                printf("%s\n", secret);
        if (!json)
                fprintf(stderr, "creto-runtime: key %s (%s) for '%s'; it is shown this once\n", key.id, key.role, key.name);
        creto_free(secret);
        creto_free(text);
        return 0;
}

int cmd_keys(int argc, char **argv)
{
        const char *name = NULL, *role = "agent", *expires = NULL;
        int json = 0, status = 0;
        const struct cli_option options[] = {
                { "name", 0, &name, NULL }, { "role", 0, &role, NULL }, { "expires", 0, &expires, NULL }, { "json", 0, NULL, &json }
        };
        struct creto_error e;
        int n = cli_options(argc, argv, options, 4, NULL);
        const char *verb = n > 1 ? argv[1] : "";
        bool list = strcmp(verb, "list") == 0 && n == 2, create = strcmp(verb, "create") == 0 && n == 2 && name,
             revoke = strcmp(verb, "revoke") == 0 && n == 3;

        if (!list && !create && !revoke)
                return n ? cli_usage("keys list [--json] | create --name NAME [--role agent|operator|admin] [--expires T] | revoke ID")
                         : 64;
        struct creto_runtime *rt = cli_connect(&status);
        if (!rt)
                return status;
        if (list)
                status = keys_list(rt, json);
        else if (create)
                status = keys_create(rt, name, role, expires, json);
        else if (creto_key_revoke(rt, argv[2], &e) < 0)
                status = cli_error(&e);
        creto_close(rt);
        return status;
}

int cmd_health(int argc, char **argv)
{
        struct creto_error e;
        char *text = NULL;
        int healthy = 0, status, n = cli_options(argc, argv, NULL, 0, NULL);

        if (n != 1)
                return n ? cli_usage("health") : 64;
        struct creto_runtime *rt = cli_connect(&status);
        if (rt && creto_health(rt, &healthy, &text, &e) < 0)
                status = cli_error(&e);
        else if (rt) {
                fputs(text, stdout);
                status = healthy ? 0 : 69;
        }
        creto_free(text);
        creto_close(rt);
        return status;
}
