#include "domain/spawn.h"

#include <string.h>

#include "base/str.h"
#include "domain/limits.h"

int spawn_check(const struct spawn_rules *rules, const struct ipc_spawn *req, size_t nfds, const struct runtime_class **class,
                uint32_t *missing, struct err *e)
{
        const struct runtime_class *found = classes_find(rules->classes, req->class);
        struct limits l = { .wanted = req->limits_wanted };

        memcpy(l.value, req->limits, sizeof(l.value));
        if (!str_is_id(req->id, IPC_ID_MAX) || !str_is_id(req->hostname, IPC_HOSTNAME_MAX))
                return err_set(e, ERR_INVALID_SPEC, 0, "the sandbox's id or host name is not one");
        if (!limits_valid(&l))
                return err_set(e, ERR_INVALID_SPEC, 0, "a limit is out of range");
        if (req->uid >= rules->ids - 1 || req->gid >= rules->ids - 1)
                return err_set(e, ERR_INVALID_SPEC, 0, "user %u and group %u are not both below %u", req->uid, req->gid, rules->ids - 1);
        if (req->home[0] != '/' && req->home[0] != '\0')
                return err_set(e, ERR_INVALID_SPEC, 0, "the home directory is not an absolute path");
        if ((req->root == IPC_ROOT_LAYERS) != (req->layer_count > 0) || (req->root == IPC_ROOT_DIR ? 1U : 0U) != nfds)
                return err_set(e, ERR_INVALID_SPEC, 0, "the root does not fit its kind");
        if (req->root == IPC_ROOT_DIR && !rules->any_dir)
                return err_set(e, ERR_AUTHORIZATION_DENIED, 0, "only root may name a directory as root");
        if (!found) {
                err_set(e, ERR_INVALID_SPEC, 0, "there is no runtime class '%.*s'", CLASS_NAME_MAX, req->class);
                return err_hint(e, "creto-runtime runtimes lists them");
        }
        if ((req->flags & (IPC_SPAWN_BESIDE | IPC_SPAWN_KVM) && found->driver != CLASS_NATIVE) ||
            (req->flags & IPC_SPAWN_BESIDE && req->root != IPC_ROOT_LAYERS))
                return err_set(e, ERR_INVALID_SPEC, 0, "only a native sandbox has layers beside its root, or /dev/kvm");
        if (req->flags & IPC_SPAWN_KVM && !rules->kvm) {
                err_set(e, ERR_AUTHORIZATION_DENIED, 0, "creto-warden gives /dev/kvm to no sandbox");
                return err_hint(e, "[runtime.qemu] accel = \"kvm\" in the configuration; a warden of a unit of its own needs --kvm yes");
        }
        for (unsigned i = 0; i < LIMIT_COUNT; i++)
                if (class_lacks(found) & l.wanted & (1U << i)) {
                        err_set(e, ERR_NOT_SUPPORTED, 0, "--%s cannot be enforced by runtime class '%s'", limit_table[i].flag, found->name);
                        return err_hint(e, "leave it out, or use another class: creto-runtime runtimes");
                }
        uint32_t can = rules->limits & ~class_lacks(found);
        if (limits_check_enforced(&l, can, e) < 0)
                return -(int)e->code;
        *class = found;
        *missing = limits_missing(&l, can);
        return 0;
}
