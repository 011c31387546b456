/*
 * domain/choice: which class a request gets, in every combination of what is asked, laid down and there. And domain/offers: engines that root offers.
 */
#include <stdio.h>
#include <string.h>

#include "domain/choice.h"
#include "domain/limits.h"
#include "domain/offers.h"
#include "test.h"

/* The host of a test: "native runc -gvisor !crun", where - is not available and ! is drained. */
static void look(void *ctx, const char *name, struct choice_class *out)
{
        char words[256], *save = NULL;

        *out = (struct choice_class){ .limits = UINT32_MAX };
        snprintf(words, sizeof(words), "%s", (const char *)ctx);
        for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
                const char *plain = w + strspn(w, "-!");

                if (strcmp(plain, name) != 0)
                        continue;
                out->known = true;
                out->available = w[0] != '-';
                out->drained = w[0] == '!';
                snprintf(out->reason, sizeof(out->reason), "%s is not installed", name);
                if (strcmp(name, "gvisor") == 0 || strcmp(name, "kata-fc") == 0)
                        out->limits = ~(1U << LIMIT_PIDS);
        }
}

static const struct row {
        const char *there, *normal;
        struct choice_wish wish;
        const char *class, *requested, *notice; /* `class` NULL: refused, with `code`, and `notice` in what is said */
        enum err_code code;
        const char *hint; /* in it, where not NULL */
} rows[] = {
        /* auto: the strongest that is there */
        { "native gvisor", "auto", { .runtime = "auto" }, "gvisor", "auto", "", ERR_NONE, NULL },
        { "native -gvisor",
          "auto",
          { .runtime = "auto" },
          "native",
          "auto",
          "the runtime class is native; gvisor: gvisor is not installed",
          ERR_NONE,
          NULL },
        { "native",
          "auto",
          { .runtime = "auto" },
          "native",
          "auto",
          "the runtime class is native; gvisor: there is no such class",
          ERR_NONE,
          NULL },
        { "native !gvisor",
          "auto",
          { .runtime = "auto" },
          "native",
          "auto",
          "the runtime class is native; gvisor: it is drained",
          ERR_NONE,
          NULL },
        { "!native gvisor", "auto", { .runtime = "auto" }, "gvisor", "auto", "", ERR_NONE, NULL },
        { "!native -gvisor",
          "auto",
          { .runtime = "auto" },
          NULL,
          NULL,
          "gvisor: gvisor is not installed; native: it is drained",
          ERR_BACKEND_UNAVAILABLE,
          "enable" },
        { "!native !gvisor",
          "auto",
          { .runtime = "auto", .allow_fallback = true },
          NULL,
          NULL,
          "it is drained",
          ERR_BACKEND_UNAVAILABLE,
          "enable" },
        { "native gvisor",
          "auto",
          { .runtime = "auto", .limits = 1U << LIMIT_PIDS },
          "native",
          "auto",
          "the runtime class is native; gvisor: it cannot keep --pids",
          ERR_NONE,
          NULL },
        { "native gvisor", "auto", { .runtime = "auto", .limits = 1U << LIMIT_MEMORY }, "gvisor", "auto", "", ERR_NONE, NULL },
        /* firecracker is Kata's, where that is installed */
        { "native firecracker kata-fc",
          "auto",
          { .runtime = "firecracker" },
          "kata-fc",
          "firecracker",
          "the runtime class is kata-fc, not firecracker; firecracker: Kata's is installed",
          ERR_NONE,
          NULL },
        { "native firecracker -kata-fc", "auto", { .runtime = "firecracker" }, "firecracker", "firecracker", "", ERR_NONE, NULL },
        { "native firecracker !kata-fc", "auto", { .runtime = "firecracker" }, "firecracker", "firecracker", "", ERR_NONE, NULL },
        { "native firecracker kata-fc",
          "auto",
          { .runtime = "firecracker", .limits = 1U << LIMIT_PIDS },
          "firecracker",
          "firecracker",
          "",
          ERR_NONE,
          NULL },
        { "native firecracker kata-fc",
          "auto",
          { .runtime = "firecracker", .hardware = true },
          "firecracker",
          "firecracker",
          "",
          ERR_NONE,
          NULL },
        { "native -firecracker kata-fc",
          "firecracker",
          { .runtime = "auto" },
          "kata-fc",
          "auto",
          "the runtime class is kata-fc; firecracker: Kata's is installed",
          ERR_NONE,
          NULL },
        { "native !firecracker kata-fc",
          "auto",
          { .runtime = "firecracker" },
          NULL,
          NULL,
          "'firecracker' is drained",
          ERR_BACKEND_UNAVAILABLE,
          NULL },
        /* what auto is may be laid down */
        { "native gvisor", "native", { .runtime = "auto" }, "native", "auto", "", ERR_NONE, NULL },
        { "native gvisor runc", "runc", { .runtime = "auto" }, "runc", "auto", "", ERR_NONE, NULL },
        { "native gvisor !runc",
          "runc",
          { .runtime = "auto" },
          NULL,
          NULL,
          "'runc' is drained",
          ERR_BACKEND_UNAVAILABLE,
          "--allow-fallback" },
        { "native gvisor !runc",
          "runc",
          { .runtime = "auto", .allow_fallback = true },
          "gvisor",
          "auto",
          "the runtime class is gvisor; runc: it is drained",
          ERR_NONE,
          NULL },
        /* named ones */
        { "native gvisor", "auto", { .runtime = "native" }, "native", "native", "", ERR_NONE, NULL },
        { "native -gvisor", "auto", { .runtime = "gvisor" }, "gvisor", "gvisor", "", ERR_NONE, NULL }, /* who makes it says why not */
        { "native -gvisor",
          "auto",
          { .runtime = "gvisor", .allow_fallback = true },
          "native",
          "gvisor",
          "the runtime class is native, not gvisor; gvisor: gvisor is not installed",
          ERR_NONE,
          NULL },
        { "native !gvisor",
          "auto",
          { .runtime = "gvisor" },
          NULL,
          NULL,
          "'gvisor' is drained",
          ERR_BACKEND_UNAVAILABLE,
          "--allow-fallback (allowFallback) is content with native" },
        { "!native !gvisor",
          "auto",
          { .runtime = "gvisor" },
          NULL,
          NULL,
          "'gvisor' is drained",
          ERR_BACKEND_UNAVAILABLE,
          "creto-runtime enable --runtime gvisor" },
        { "native !gvisor",
          "auto",
          { .runtime = "gvisor", .allow_fallback = true },
          "native",
          "gvisor",
          "the runtime class is native, not gvisor; gvisor: it is drained",
          ERR_NONE,
          NULL },
        { "!native gvisor",
          "auto",
          { .runtime = "native", .allow_fallback = true },
          NULL,
          NULL,
          "'native' is drained",
          ERR_BACKEND_UNAVAILABLE,
          "enable" }, /* nothing comes after it */
        { "!native !gvisor",
          "auto",
          { .runtime = "gvisor", .allow_fallback = true },
          NULL,
          NULL,
          "'gvisor' is drained",
          ERR_BACKEND_UNAVAILABLE,
          NULL },
        { "native gvisor -crun",
          "auto",
          { .runtime = "crun", .allow_fallback = true },
          "gvisor",
          "crun",
          "the runtime class is gvisor, not crun; crun: crun is not installed",
          ERR_NONE,
          NULL },
        { "native -gvisor -crun",
          "auto",
          { .runtime = "crun", .allow_fallback = true },
          "native",
          "crun",
          "the runtime class is native, not crun; crun: crun is not installed; gvisor: gvisor is not installed",
          ERR_NONE,
          NULL },
        { "native gvisor -crun",
          "auto",
          { .runtime = "crun", .allow_fallback = true, .limits = 1U << LIMIT_PIDS },
          "native",
          "crun",
          "the runtime class is native, not crun; crun: crun is not installed; gvisor: it cannot keep --pids",
          ERR_NONE,
          NULL },
        { "native gvisor",
          "auto",
          { .runtime = "nonsense" },
          NULL,
          NULL,
          "there is no runtime class 'nonsense'",
          ERR_INVALID_SPEC,
          "runtimes" },
        { "native gvisor",
          "auto",
          { .runtime = "nonsense", .allow_fallback = true },
          NULL,
          NULL,
          "there is no runtime class 'nonsense'",
          ERR_INVALID_SPEC,
          NULL },
        /* trust levels */
        { "native runc gvisor", "auto", { .runtime = "auto", .trust = TRUST_TRUSTED }, "runc", "runc", "", ERR_NONE, NULL },
        { "native runc gvisor", "native", { .runtime = "auto", .trust = TRUST_STANDARD }, "gvisor", "gvisor", "", ERR_NONE, NULL },
        { "native gvisor",
          "auto",
          { .runtime = "auto", .trust = TRUST_UNTRUSTED },
          NULL,
          NULL,
          "no runtime class 'kata'",
          ERR_BACKEND_UNAVAILABLE,
          "--allow-fallback" },
        { "native gvisor",
          "auto",
          { .runtime = "auto", .trust = TRUST_UNTRUSTED, .allow_fallback = true },
          "gvisor",
          "kata",
          "the runtime class is gvisor, not kata; kata: there is no such class",
          ERR_NONE,
          NULL },
        { "native gvisor",
          "auto",
          { .runtime = "auto", .trust = TRUST_CONFIDENTIAL },
          NULL,
          NULL,
          "'confidential': no runtime class here has it",
          ERR_BACKEND_UNAVAILABLE,
          "[trust]" },
        { "native gvisor",
          "auto",
          { .runtime = "auto", .trust = TRUST_CONFIDENTIAL, .allow_fallback = true },
          NULL,
          NULL,
          "'confidential'",
          ERR_BACKEND_UNAVAILABLE,
          "no fallback" },
        { "native gvisor",
          "auto",
          { .runtime = "native", .trust = TRUST_CONFIDENTIAL },
          NULL,
          NULL,
          "'confidential'",
          ERR_BACKEND_UNAVAILABLE,
          NULL },
        { "native gvisor", "auto", { .runtime = "gvisor", .trust = TRUST_STANDARD }, "gvisor", "gvisor", "", ERR_NONE, NULL },
        { "native gvisor",
          "auto",
          { .runtime = "native", .trust = TRUST_STANDARD },
          NULL,
          NULL,
          "'gvisor' here, and runtime class 'native' was named as well",
          ERR_INVALID_SPEC,
          "one of the two" },
        { "native gvisor",
          "auto",
          { .runtime = "native", .trust = TRUST_STANDARD, .allow_fallback = true },
          NULL,
          NULL,
          "'native' was named as well",
          ERR_INVALID_SPEC,
          NULL },
        { "native !gvisor",
          "auto",
          { .runtime = "auto", .trust = TRUST_STANDARD },
          NULL,
          NULL,
          "'gvisor' is drained",
          ERR_BACKEND_UNAVAILABLE,
          "--allow-fallback" },
};

static void check_row(const struct row *r)
{
        struct choice_policy policy;
        struct choice c = { .name = "as it was" };
        struct err e = { 0 };
        char notice[CHOICE_NOTICE_MAX + 1];

        choice_policy_init(&policy);
        snprintf(policy.normal, sizeof(policy.normal), "%s", r->normal);
        const struct choice_world w = { &policy, look, (void *)(uintptr_t)r->there };
        int got = choice_make(&w, &r->wish, &c, &e);
        if (!r->class) {
                CHECK_INT(got, -(int)r->code);
                CHECK_INT(e.code, r->code);
                CHECK(strstr(e.msg, r->notice) != NULL);
                CHECK(!r->hint || strstr(e.hint, r->hint) != NULL);
                CHECK_STR(c.name, "as it was");
        } else {
                CHECK_INT(got, 0);
                CHECK_STR(c.name, r->class);
                CHECK_STR(c.requested, r->requested);
                choice_notice(&c, notice, sizeof(notice));
                CHECK_STR(notice, r->notice);
        }
}

TEST(every_combination)
{
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !test_failed_here; i++) {
                check_row(&rows[i]);
                if (test_failed_here)
                        printf("# row %zu: '%s' of '%s', %s\n", i, rows[i].wish.runtime, rows[i].there, trust_names[rows[i].wish.trust]);
        }
}

TEST(one_after_the_other_and_none_twice)
{
        struct choice_policy policy;
        const struct choice_world w = { &policy, look, (void *)(uintptr_t) "native gvisor crun runc" };
        struct choice c = { .name = "runc", .requested = "runc" };
        char notice[CHOICE_NOTICE_MAX + 1];

        choice_policy_init(&policy);
        policy.fallback_count = 3;
        memcpy(policy.fallback, (char[3][CLASS_NAME_MAX + 1]){ "crun", "runc", "native" }, sizeof(char[3][CLASS_NAME_MAX + 1]));
        /* It is in the middle of the order: only what comes after it is a step down that the operator has allowed. */
        CHECK(choice_next(&w, 0, "it broke", &c));
        CHECK_STR(c.name, "native");
        CHECK(!choice_next(&w, 0, "it broke too", &c));
        CHECK_STR(c.name, "native");
        choice_notice(&c, notice, sizeof(notice));
        CHECK_STR(notice, "the runtime class is native, not runc; runc: it broke");
        policy.fallback_count = 0;
        CHECK(!choice_next(&w, 0, "", &c));
}

TEST(a_long_reason_is_cut_and_ends)
{
        struct choice_policy policy;
        const struct choice_world w = { &policy, look, (void *)(uintptr_t) "native gvisor" };
        struct choice c = { .name = "crun", .requested = "crun" };
        char why[2000], notice[CHOICE_NOTICE_MAX + 1];

        choice_policy_init(&policy);
        memset(why, 'x', sizeof(why) - 1);
        why[sizeof(why) - 1] = '\0';
        CHECK(choice_next(&w, 0, why, &c) && choice_next(&w, 0, why, &c));
        CHECK_STR(c.name, "native");
        CHECK_INT(strlen(c.why), CHOICE_WHY_MAX);
        choice_notice(&c, notice, sizeof(notice));
        CHECK(strlen(notice) <= CHOICE_NOTICE_MAX);
        CHECK(strncmp(notice, "the runtime class is native, not crun; crun: xxx", 48) == 0);
}

TEST(levels_have_names)
{
        for (unsigned i = TRUST_UNSAID + 1; i < TRUST_LEVELS; i++)
                CHECK_INT(trust_of(trust_names[i]), i);
        CHECK_INT(trust_of(""), TRUST_UNSAID);
        CHECK_INT(trust_of("Trusted"), TRUST_UNSAID);
}

/* ---- offers ---- */

static const char *token_of(unsigned i)
{
        static char token[IPC_OFFER_HEX + 1];

        snprintf(token, sizeof(token), "%032x", i);
        return token;
}

TEST(an_offer_is_taken_once)
{
        struct offers o = { 0 };

        CHECK(offers_add(&o, token_of(1), 10, 0));
        CHECK(!offers_add(&o, token_of(1), 11, 0));
        CHECK_INT(offers_take(&o, token_of(2), 0), -1);
        CHECK_INT(offers_take(&o, token_of(1), OFFER_MS - 1), 10);
        CHECK_INT(offers_take(&o, token_of(1), 0), -1);
        CHECK_INT(offers_take(&o, "", 0), -1);
        CHECK_INT(offers_expire(&o, UINT64_MAX), -1);
}

TEST(offers_expire_and_are_few)
{
        struct offers o = { 0 };

        for (unsigned i = 0; i < OFFERS_MAX; i++)
                CHECK(offers_add(&o, token_of(i), 10 + (int)i, i));
        CHECK(!offers_add(&o, token_of(99), 99, 0));
        CHECK_INT(offers_take(&o, token_of(0), OFFER_MS), -1); /* its time is over, and it is still there to be closed */
        CHECK(!offers_add(&o, token_of(99), 99, OFFER_MS));
        CHECK_INT(offers_expire(&o, OFFER_MS), 10);
        CHECK_INT(offers_expire(&o, OFFER_MS), -1);
        CHECK(offers_add(&o, token_of(99), 99, OFFER_MS));
        for (unsigned i = 1; i < OFFERS_MAX; i++)
                CHECK_INT(offers_expire(&o, OFFER_MS + OFFERS_MAX), 10 + (int)i);
        CHECK_INT(offers_take(&o, token_of(99), OFFER_MS + OFFERS_MAX), 99);
}

TEST(what_is_no_token)
{
        static const char *const bad[] = { "",
                                           "0",
                                           "0123456789abcdef0123456789abcde",
                                           "0123456789abcdef0123456789abcdef0",
                                           "0123456789ABCDEF0123456789abcdef",
                                           "0123456789abcdef 123456789abcdef" };
        struct offers o = { 0 };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                CHECK(!offer_is_token(bad[i]) && !offers_add(&o, bad[i], 3, 0) && offers_take(&o, bad[i], 0) == -1);
        CHECK(offer_is_token("0123456789abcdef0123456789abcdef"));
}
