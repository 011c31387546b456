#include "domain/warden_args.h"

#include <string.h>

#include "base/str.h"

static bool take_class(struct warden_args *args, const char *text)
{
        struct runtime_class class;
        struct err e;

        return class_parse(text, &class) && classes_add(&args->classes, &class, &e) == 0;
}

static bool take_peer(struct warden_args *args, const char *text)
{
        uint64_t uid;

        args->service = str_parse_u64(text, &uid) && uid < UINT32_MAX;
        args->peer_uid = args->service ? (uint32_t)uid : 0;
        return args->service;
}

static bool take_path(const char **path, const char *text)
{
        *path = text;
        return text[0] == '/' && strlen(text) <= WARDEN_PATH_MAX;
}

static bool take_switch(bool *on, const char *text)
{
        *on = strcmp(text, "yes") == 0;
        return *on || strcmp(text, "no") == 0;
}

static bool take(struct warden_args *args, const char *name, const char *value)
{
        if (strcmp(name, "--class") == 0)
                return take_class(args, value);
        if (strcmp(name, "--peer") == 0)
                return take_peer(args, value);
        if (strcmp(name, "--kvm") == 0)
                return take_switch(&args->kvm, value);
        if (strcmp(name, "--run-dir") == 0)
                return take_path(&args->run_dir, value);
        if (strcmp(name, "--state-dir") == 0)
                return take_path(&args->state_dir, value);
        return strcmp(name, "--image-store") == 0 && take_path(&args->image_store, value);
}

bool warden_args_read(int argc, char **argv, struct warden_args *args)
{
        *args = (struct warden_args){ 0 };
        classes_init(&args->classes);
        if (argc % 2 == 0)
                return false;
        for (int i = 1; i < argc; i += 2)
                if (!take(args, argv[i], argv[i + 1]))
                        return false;
        return args->run_dir && args->state_dir && args->image_store;
}
