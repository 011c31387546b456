/*
 * A command that a request brings: read from its body, begun when there is a sandbox for it, and answered as the request wants it: whole, as events, or with
 * its id.
 */
#pragma once

#include "api/http/routes.h"

struct run;

/* Reads `command` and `detach` of the body; NULL where it was answered that they cannot be had. Lives as long as the request. */
struct run *run_read(struct call *c, const struct json_node *body);

/* Begins it, once. What forbids that is kept for the answer. */
void run_begin(struct run *u, struct sandbox *sb);

/* Answers with it. `claim`: the JSON object of the claim that it came with (owned), to which it is added as `exec`, or goes before its events; or NULL. A claim
 * holds, whatever becomes of its command. */
void run_answer(struct run *u, struct sandbox *sb, char *claim);

/* Answers with the events of one that runs already (borrowed), from these offsets on. */
void run_follow(struct call *c, struct exec *x, uint64_t out, uint64_t error);

bool run_wants_events(const struct call *c);
