/*
 * The API: routes, who may use them, JSON in and out. Translation only; what is decided is decided below.
 */
#pragma once

#include "api/http/server.h"
#include "services/events/events.h"
#include "services/keys/keys.h"
#include "services/metrics/metrics.h"
#include "services/pool/pool.h"
#include "services/sandbox/sandbox.h"
#include "wire/json.h"

enum { API_PARAMS_MAX = 2, API_NODES_MAX = 16384, API_EXECS_OUT_MAX = 4 * 1024 * 1024, API_LIMITERS = 1024 };

struct api_config {
        struct loop *loop;
        struct sandboxes *sandboxes;
        struct pools *pools;
        struct events *events;
        struct keys *keys;
        struct metrics *metrics;
        struct spec defaults;          /* what a spec that says nothing gets */
        const struct classes *classes; /* as the operator has them */
        bool no_auth_on_loopback;
        double requests_per_second; /* of each caller; 0: as many as it likes */
        unsigned burst;
        /* The role of somebody on the unix socket, by uid. */
        enum key_role (*socket_role)(void *ctx, uid_t uid);
        /* A bearer token that is no key of ours: 0 and *out, or UNAUTHENTICATED. NULL: none is taken. */
        int (*token)(void *ctx, const char *token, struct principal *out, struct err *e);
        /* Health of what the API does not see. */
        bool (*store_ok)(void *ctx);
        void *ctx;
};

struct api;

int api_new(const struct api_config *config, struct api **out, struct err *e);

/* For server_config. */
void api_on_head(void *ctx, struct request *r);
void api_on_answer(void *ctx, struct request *r);

void api_set_server(struct api *api, struct server *server);
/* While it waits for what was there before to be taken over, requests that need it wait. */
void api_settled(struct api *api);
