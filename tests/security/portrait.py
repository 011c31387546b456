"""Runs inside a sandbox, cold or in a prewarmed interpreter: what it is, as JSON. Nothing here may depend on who asks."""
import ctypes
import glob
import hashlib
import json
import os
import random
import secrets
import socket
import tempfile
import time
import uuid


def text(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode("latin-1").strip()
    except OSError:
        return None


def at_random():
    """The 16 bytes that the kernel gives each program at its start; canaries and hash seeds come from them."""
    libc = ctypes.CDLL(None)
    libc.getauxval.restype = ctypes.c_ulong
    return ctypes.string_at(libc.getauxval(25), 16).hex()


def layout():
    """Where things are in memory."""
    where = {}
    for line in text("/proc/self/maps").splitlines():
        words = line.split(None, 5)
        name = words[5] if len(words) > 5 else ""
        name = name if name.startswith("[") else "libc" if "/libc.so" in name or "/libc-" in name else "program" if "/python3" in name and "/lib/" not in name else None
        if name in ("[stack]", "[heap]", "[vdso]", "libc", "program"):
            where.setdefault(name, words[0].split("-")[0])
    where["object"] = hex(id(object()))
    return where


def disks():
    out = {}
    for at in ("/tmp", "/var/tmp", "/home/agent", "/run", "/dev/shm", "/"):
        s = os.stat(at)
        out[at] = {"device": s.st_dev, "inode": s.st_ino}
    with tempfile.NamedTemporaryFile() as f:
        out["new"] = {"device": os.fstat(f.fileno()).st_dev, "inode": os.fstat(f.fileno()).st_ino}
    return out


def files():
    """Of what is the sandbox's own: a digest of each."""
    out = {}
    for top, folders, names in os.walk("/"):
        folders[:] = [d for d in folders if os.path.join(top, d) not in ("/proc", "/sys", "/usr", "/etc/alternatives", "/etc/ssl") and not os.path.islink(os.path.join(top, d))]
        for name in names:
            path = os.path.join(top, name)
            if os.path.isfile(path):
                data = text(path)
                out[path] = hashlib.sha256(data.encode()).hexdigest() if data else ""
    return out


print(json.dumps({
    "urandom": os.urandom(32).hex(),
    "dev-urandom": open("/dev/urandom", "rb").read(32).hex(),
    "dev-random": open("/dev/random", "rb").read(32).hex(),
    "at-random": at_random(),
    "random": random.random(),
    "random-bits": random.getrandbits(128),
    "secrets": secrets.token_hex(16),
    "uuid4": str(uuid.uuid4()),
    "uuid1": str(uuid.uuid1()),
    "temporary": tempfile.mktemp(),
    "hash": hash("a string"),
    "layout": layout(),
    "hostname": socket.gethostname(),
    "machine-id": text("/etc/machine-id"),
    "boot-id": text("/proc/sys/kernel/random/boot_id"),
    "kernel-uuid": text("/proc/sys/kernel/random/uuid"),
    "disks": disks(),
    "files": files(),
    "fsid": os.statvfs("/tmp").f_fsid,
    "uid-map": text("/proc/self/uid_map"),
    "namespaces": {os.path.basename(p): os.readlink(p) for p in glob.glob("/proc/self/ns/*")},
    "pid": os.getpid(),
    "pids": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
    "cgroup": text("/proc/self/cgroup"),
    "interfaces": [n for _, n in socket.if_nameindex()],
    "mac": [text(p) for p in glob.glob("/sys/class/net/*/address")],
    "keys": sorted(glob.glob("/etc/ssh/*") + glob.glob("/home/*/.ssh/*") + glob.glob("/root/.ssh/*")),
    "realtime": time.time(),
    "monotonic": time.monotonic(),
    "boottime": time.clock_gettime(time.CLOCK_BOOTTIME),
    "environment": dict(os.environ),
}))
