"""Runs inside a sandbox: python3 -c "$(cat leftovers.py)" plant|find MARK.

plant leaves MARK wherever something can be left, and prints what it could, one word a line. find looks for MARK in all those places, and prints where it is: what
it finds where it was planted says that it can see, what it finds in another sandbox is a fault. Only what the sandbox's user may do is tried; what is refused is not printed.

state prints what a sandbox is set to (name, settings of the kernel, limits, mounts), so that two can be compared."""
import ctypes
import glob
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_ADD_KEY, SYS_KEYCTL = 248, 250  # x86_64
KEYRINGS = {"thread": -1, "process": -2, "session": -3, "user": -4, "user-session": -5}
KEY = 0x5EED
SKIP = {"/proc", "/sys", "/usr"}  # not a place to leave files in; /usr is the host's, read-only
LEFT = "creto-left"


def call(function, *args):
    ctypes.set_errno(0)
    r = function(*args)
    if r in (-1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), function.__name__)
    return r


def folders():
    for top, dirs, _ in os.walk("/"):
        dirs[:] = [d for d in dirs if os.path.join(top, d) not in SKIP and not os.path.islink(os.path.join(top, d))]
        yield top


# ---- files ----

def plant_files(mark):
    """In every folder that can be written to: a file, a hidden folder with one, a symbolic link, a fifo, a socket, a hole, extended attributes."""
    some = []
    for folder in list(folders()):
        at = os.path.join(folder, f"{LEFT}-{mark}")
        try:
            with open(at, "w") as f:
                f.write(mark * 100)
        except OSError:
            continue
        some.append(folder)
        os.makedirs(os.path.join(folder, f".{LEFT}-{mark}", "deep"), exist_ok=True)
        with open(os.path.join(folder, f".{LEFT}-{mark}", "deep", "file"), "w") as f:
            f.write(mark)
        os.symlink(mark, at + "-link")
        os.mkfifo(at + "-fifo")
        s = socket.socket(socket.AF_UNIX)
        s.bind(at + "-sock")
        try:
            os.setxattr(at, f"user.{mark}", mark.encode())
        except OSError:
            pass
    return [f"file:{folder}" for folder in some]


def find_files(mark):
    found = []
    for folder in folders():
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for e in entries:
            text = e.name
            try:
                if e.is_symlink():
                    text += os.readlink(e.path)
                elif e.is_file():
                    text += " ".join(os.listxattr(e.path))
                    with open(e.path, "rb") as f:
                        text += f.read(1 << 20).decode("latin-1")
            except OSError:
                pass
            if mark in text and f"file:{folder}" not in found:
                found.append(f"file:{folder}")
    return found


def plant_startup(mark):
    """What shells, interpreters and cron would read the next time. find_files sees it."""
    done, home = [], os.path.expanduser("~")
    for path in (f"{home}/.bashrc", f"{home}/.profile", f"{home}/.pythonrc.py", f"{home}/.config/systemd/user/x.service", f"{home}/.local/lib/python3/site-packages/x.pth",
                 f"{home}/.ssh/authorized_keys", "/etc/profile.d/x.sh", "/etc/cron.d/x", "/var/spool/cron/crontabs/agent", "/etc/ld.so.preload", "/etc/environment", "/etc/hosts",
                 "/etc/passwd", "/etc/resolv.conf", "/run/machine-id", "/run/user/x", "/var/lib/x", "/var/tmp/systemd-private-x"):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "a") as f:
                f.write(f"\n# {mark}\n")
            done.append(f"startup:{path}")
        except OSError:
            pass
    return done


# ---- processes, and what lives in them ----

def child(mark):
    """A process that left its parent, holding what a process can hold."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for number in range(1, 32):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    os.execve(sys.executable, [sys.executable, "-c", HOLD, mark], {"MARK": mark, "PATH": "/usr/bin"})


HOLD = """
import os, signal, socket, sys, tempfile, time
mark = sys.argv[1]
held = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(f"\\0creto-left-{mark}-{int(kind)}")
    if kind != socket.SOCK_DGRAM:
        s.listen()
    held.append(s)
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            s = socket.socket(family, kind)
            s.bind((address, 23456))
            if kind == socket.SOCK_STREAM:
                s.listen()
            held.append(s)
        except OSError:
            pass
held.append(os.memfd_create(f"creto-left-{mark}"))
gone = tempfile.TemporaryFile()
gone.write(mark.encode() * 1000)
gone.flush()
signal.signal(signal.SIGALRM, lambda *_: open(f"/tmp/creto-left-{mark}-timer", "w"))
signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
while True:
    time.sleep(1)
"""


def plant_processes(mark):
    child(mark)
    for _ in range(500):
        if find_processes(mark) and find_sockets(mark):
            return ["process", "unix", "inet"]
        time.sleep(0.02)
    raise RuntimeError("the process does not come up")


def find_processes(mark):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        for name in ("cmdline", "environ", "comm", "maps"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as f:
                    if f"creto-left-{mark}".encode() in f.read() or name in ("cmdline", "environ") and own(pid, name, mark):
                        return ["process"]
            except OSError:
                pass
    return []


def own(pid, name, mark):
    with open(f"/proc/{pid}/{name}", "rb") as f:
        words = f.read().split(b"\0")
    return mark.encode() in words and b"find" not in words or f"MARK={mark}".encode() in words


def find_sockets(mark):
    found = []
    with open("/proc/net/unix") as f:
        if mark in f.read():
            found.append("unix")
    for table in ("tcp", "udp", "tcp6", "udp6", "raw", "packet"):
        try:
            with open(f"/proc/net/{table}") as f:
                if f":{23456:04X} " in f.read() and "inet" not in found:
                    found.append("inet")
        except OSError:
            pass
    return found


# ---- what the kernel keeps for nobody ----

def plant_sysv(mark):
    done = []
    for name, make in (("shm", lambda: call(LIBC.shmget, KEY, 4096, 0o1666)), ("sem", lambda: call(LIBC.semget, KEY, 3, 0o1666)), ("msg", lambda: call(LIBC.msgget, KEY, 0o1666))):
        try:
            got = make()
            done.append(f"sysv-{name}")
        except OSError:
            continue
        if name == "shm":
            LIBC.shmat.restype = ctypes.c_void_p
            ctypes.memmove(call(LIBC.shmat, got, None, 0), mark.encode() + b"\0", len(mark) + 1)
        if name == "msg":
            call(LIBC.msgsnd, got, struct.pack("l", 1) + mark.encode(), len(mark), 0)
    return done


def find_sysv(_):
    found = []
    for name in ("shm", "sem", "msg"):
        try:
            with open(f"/proc/sysvipc/{name}") as f:
                if len(f.readlines()) > 1:
                    found.append(f"sysv-{name}")
        except OSError:
            pass
    for name, get in (("shm", lambda: call(LIBC.shmget, KEY, 0, 0)), ("sem", lambda: call(LIBC.semget, KEY, 0, 0)), ("msg", lambda: call(LIBC.msgget, KEY, 0))):
        try:
            get()
            if f"sysv-{name}" not in found:
                found.append(f"sysv-{name}")
        except OSError:
            pass
    return found


def plant_posix(mark):
    done = []
    try:
        with open(f"/dev/shm/{LEFT}-{mark}-posix", "w+b") as f:
            f.truncate(mmap.PAGESIZE)
            mmap.mmap(f.fileno(), mmap.PAGESIZE)[:len(mark)] = mark.encode()
        done.append("file:/dev/shm")
    except OSError:
        pass
    try:
        q = call(LIBC.mq_open, f"/{LEFT}".encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
        call(LIBC.mq_send, q, mark.encode(), len(mark), 1)
        done.append("mqueue")
    except OSError:
        pass
    try:
        LIBC.sem_open.restype = ctypes.c_void_p
        if LIBC.sem_open(f"/{LEFT}-{mark}".encode(), os.O_CREAT, 0o666, 1):
            done.append("file:/dev/shm")
    except OSError:
        pass
    return done


def find_posix(_):
    try:
        call(LIBC.mq_open, f"/{LEFT}".encode(), os.O_RDWR)
        return ["mqueue"]
    except OSError:
        return []


def plant_keys(mark):
    done = []
    for name, ring in KEYRINGS.items():
        try:
            call(LIBC.syscall, SYS_ADD_KEY, b"user", f"{LEFT}-{mark}".encode(), mark.encode(), len(mark), ring)
            done.append(f"key-{name}")
        except OSError:
            pass
    return done


def find_keys(mark):
    found = []
    for name, ring in KEYRINGS.items():
        try:
            call(LIBC.syscall, SYS_KEYCTL, 10, ring, b"user", f"{LEFT}-{mark}".encode(), 0)
            found.append(f"key-{name}")
        except OSError:
            pass
    for table in ("keys", "key-users"):
        try:
            with open(f"/proc/{table}") as f:
                if mark in f.read():
                    found.append("key-listed")
        except OSError:
            pass
    return found


# ---- settings ----

def plant_settings(mark):
    """The name, and every setting of the kernel that may be written to."""
    done = []
    try:
        socket.sethostname(mark[:32])
        done.append("hostname")
    except OSError:
        pass
    for path in glob.glob("/proc/sys/**", recursive=True) + ["/proc/sysrq-trigger"]:
        try:
            if not os.path.isfile(path):
                continue
            with open(path, "r+") as f:
                value = f.read().strip()
                if value.lstrip("-").isdigit():
                    f.seek(0)
                    f.write(str(int(value) + 1))
                    done.append(f"sysctl:{path}")
        except (OSError, ValueError, UnicodeDecodeError):
            pass
    for folder in filter(lambda d: os.access(d, os.W_OK), glob.glob("/sys/fs/cgroup/**/", recursive=True)):
        try:
            os.mkdir(os.path.join(folder, LEFT))
            done.append(f"cgroup:{folder}")
        except OSError:
            pass
    try:
        os.nice(5)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        os.umask(0o777)
    except OSError:
        pass
    return done


def find_settings(mark):
    return ["hostname"] if mark[:32] in socket.gethostname() else []


# ---- the disk itself ----

def plant_blocks(mark):
    """A file that is written to the disk and deleted: its blocks are what is left. Not to be seen in this sandbox either."""
    with open(f"/tmp/{LEFT}-blocks", "wb") as f:
        f.write(mark.encode() * ((8 << 20) // len(mark)))
        f.flush()
        os.fsync(f.fileno())
    os.unlink(f"/tmp/{LEFT}-blocks")
    return []


def find_blocks(_):
    """In space that was taken and never written to."""
    path = f"/tmp/{LEFT}-space"
    with open(path, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, 16 << 20)
    with open(path, "rb") as f:
        dirty = any(piece.strip(b"\0") for piece in iter(lambda: f.read(1 << 20), b""))
    os.unlink(path)
    return ["blocks"] if dirty else []


def state():
    with open("/proc/self/mounts") as f:
        for line in f:
            device, at, kind, options = line.split()[:4]
            print("mount", at, kind, ",".join(o for o in options.split(",") if not o.startswith("gid=")))
    for path in sorted(glob.glob("/proc/sys/**", recursive=True)):
        if os.path.isfile(path) and not any(w in path for w in ("/random/", "/fs/", "-nr", "ns_last_pid", "/pty/nr")):
            try:
                with open(path) as f:
                    print("sysctl", path, f.read().strip().replace("\n", " "))
            except (OSError, UnicodeDecodeError):
                pass
    for name in sorted(n for n in dir(resource) if n.startswith("RLIMIT_")):
        print("limit", name, resource.getrlimit(getattr(resource, name)))
    print("umask", os.umask(0))
    print("nice", os.nice(0))
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(("Sig", "Shd", "Cap", "Seccomp", "NoNewPrivs", "Groups")):
                print("status", " ".join(line.split()))
    for name in ("oom_score_adj", "timerslack_ns"):
        with open(f"/proc/self/{name}") as f:
            print(name, f.read().strip())
    for top in sorted(folders()):
        for name in sorted(os.listdir(top)) if os.access(top, os.R_OK) else []:
            print("file", os.path.join(top, name))
    print("env", sorted(os.environ.items()))
    pids = sorted(int(p) for p in os.listdir("/proc") if p.isdigit())
    print("processes", len(pids))


PLANT = [plant_files, plant_startup, plant_processes, plant_sysv, plant_posix, plant_keys, plant_blocks, plant_settings]
FIND = [find_files, find_processes, find_sockets, find_sysv, find_posix, find_keys, find_settings, find_blocks]

if __name__ == "__main__":
    if sys.argv[1] == "state":
        state()
    else:
        for step in PLANT if sys.argv[1] == "plant" else FIND:
            for word in step(sys.argv[2]):
                print(word)
