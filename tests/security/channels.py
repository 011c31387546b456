"""Ways in which two sandboxes could talk without a network; run inside. A word of BITS bits goes from one to the other as a set of things that are done, or not.

    channels.py prepare|send|receive[,…] NAME=WORD…

One line for each: NAME, a tab, the word that was received, or what was refused. What has to stay does so in a process of its own, until the sandbox ends, or the same is done again."""
import ctypes
import fcntl
import os
import signal
import socket
import stat
import sys
import time

BITS, STAY_S = 16, 60
PAGE = 4096
IN_OPEN = 0x20
IPC_CREAT = 0o1000
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def shared_files(top, least):
    """Files that all sandboxes of the host see, in the same order everywhere."""
    found = []
    for where, dirs, names in os.walk(top):
        dirs.sort()
        for name in sorted(names):
            path = os.path.join(where, name)
            s = os.lstat(path)
            if stat.S_ISREG(s.st_mode) and s.st_size >= least and os.access(path, os.R_OK):
                found.append(path)
            if len(found) == BITS:
                return found
    raise OSError(f"fewer than {BITS} files in {top}")


def stay(work=lambda: time.sleep(STAY_S)):
    """Returns in the parent; the child has what is open."""
    pid = os.fork()
    if pid:
        with open(f"/tmp/stays-{verb}-{current}", "a") as f:
            f.write(f"{pid}\n")
    else:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        work()
        os._exit(0)


def end_those_before():
    path = f"/tmp/stays-{verb}-{current}"
    if os.path.exists(path):
        for pid in open(path).read().split():
            succeeds(lambda: os.kill(int(pid), signal.SIGKILL))
        os.unlink(path)


def bits_of(word):
    return [i for i in range(BITS) if word >> i & 1]


def word_of(is_set):
    return sum(is_set(i) << i for i in range(BITS))


def succeeds(f):
    try:
        f()
        return True
    except OSError:
        return False


# ---- files that both see: locks on them, and watches ----

SKELETON = ["/", "/etc", "/dev", "/home", "/mnt", "/var", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf"]
DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]


def send_lock(paths, word):
    files = [os.open(paths[i], os.O_RDONLY) for i in bits_of(word)]
    for fd in files:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    stay()


def receive_lock(paths):
    files = [os.open(path, os.O_RDONLY) for path in paths]
    return sum((not succeeds(lambda fd=fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))) << i for i, fd in enumerate(files))


def watch(paths):
    fd = checked(libc.inotify_init())
    watches = {checked(libc.inotify_add_watch(fd, path.encode(), IN_OPEN)): i for i, path in enumerate(paths)}

    def listen():
        heard = 0
        while True:
            data = os.read(fd, 65536)
            while data:
                heard |= 1 << watches[int.from_bytes(data[:4], "little")]
                data = data[16 + int.from_bytes(data[12:16], "little"):]
            with open("/tmp/heard.new", "w") as f:
                f.write(str(heard))
            os.rename("/tmp/heard.new", "/tmp/heard")
    succeeds(lambda: os.unlink("/tmp/heard"))
    stay(listen)


def send_open(paths, word):
    for i in bits_of(word):
        os.close(os.open(paths[i], os.O_RDONLY))


def receive_open():
    time.sleep(0.3)
    return int(open("/tmp/heard").read()) if os.path.exists("/tmp/heard") else 0



# ---- what one kernel counts for all ----

def counted():
    """How many terminals there are: of all sandboxes, and of the host."""
    with open("/proc/sys/kernel/pty/nr", encoding="ascii") as f:
        return int(f.read())


def count_before():
    with open("/tmp/counted", "w", encoding="ascii") as f:
        f.write(str(counted()))


def send_count(word):
    for _ in range(word):
        os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    stay()


def receive_count():
    with open("/tmp/counted", encoding="ascii") as f:
        return counted() - int(f.read())


# ---- names: each sandbox has its own ----

def send_abstract(word):
    for i in bits_of(word):
        s = socket.socket(socket.AF_UNIX)
        s.bind(f"\0channel-{i}")
        s.listen()
        s.detach()
    stay()


def receive_abstract():
    return word_of(lambda i: succeeds(lambda: socket.socket(socket.AF_UNIX).connect(f"\0channel-{i}")))


def send_tcp(word):
    for i in bits_of(word):
        socket.create_server(("127.0.0.1", 20000 + i)).detach()
    stay()


def receive_tcp():
    return word_of(lambda i: succeeds(lambda: socket.create_connection(("127.0.0.1", 20000 + i), 2).close()))


def send_shm(word):
    for i in bits_of(word):
        checked(libc.shmget(0x5EED00 + i, PAGE, IPC_CREAT | 0o666))


def receive_shm():
    return word_of(lambda i: libc.shmget(0x5EED00 + i, 0, 0) >= 0)


def send_queue(word):
    for i in bits_of(word):
        checked(libc.mq_open(f"/channel-{i}".encode(), os.O_CREAT | os.O_RDWR, 0o666, None))


def receive_queue():
    return word_of(lambda i: libc.mq_open(f"/channel-{i}".encode(), os.O_RDONLY) >= 0)


def send_file(directory, word):
    for i in bits_of(word):
        open(f"{directory}/channel-{i}", "w").close()


def receive_file(directory):
    return word_of(lambda i: os.path.exists(f"{directory}/channel-{i}"))


def send_process(word):
    for i in bits_of(word):
        def work(name=b"channel-%d" % i):
            libc.prctl(15, name, 0, 0, 0)  # PR_SET_NAME
            time.sleep(STAY_S)
        stay(work)
    end = time.monotonic() + 5
    while receive_process() != word and time.monotonic() < end:
        time.sleep(0.02)


def receive_process():
    names = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        succeeds(lambda pid=pid: names.add(open(f"/proc/{pid}/comm").read().strip()))
    return word_of(lambda i: f"channel-{i}" in names)


def nothing():
    pass


# name: prepare, send, receive
CHANNELS = {
    "flock": (nothing, lambda word: send_lock(shared_files("/usr/share", 1), word), lambda: receive_lock(shared_files("/usr/share", 1))),
    "skeleton": (nothing, lambda word: send_lock(SKELETON, word), lambda: receive_lock(SKELETON)),
    "devices": (nothing, lambda word: send_lock(DEVICES, word), lambda: receive_lock(DEVICES)),
    "inotify": (lambda: watch(shared_files("/usr/bin", 1)), lambda word: send_open(shared_files("/usr/bin", 1), word), receive_open),
    "kernel-counters": (count_before, send_count, receive_count),
    "abstract-sockets": (nothing, send_abstract, receive_abstract),
    "loopback": (nothing, send_tcp, receive_tcp),
    "sysv-shm": (nothing, send_shm, receive_shm),
    "message-queues": (nothing, send_queue, receive_queue),
    "dev-shm": (nothing, lambda word: send_file("/dev/shm", word), lambda: receive_file("/dev/shm")),
    "tmp": (nothing, lambda word: send_file("/tmp", word), lambda: receive_file("/tmp")),
    "processes": (nothing, send_process, receive_process),
}


def one():
    prepare, send, receive = CHANNELS[current]
    try:
        end_those_before()
        return prepare() if verb == "prepare" else send(int(text)) if verb == "send" else receive()
    except OSError as e:
        return e


if __name__ == "__main__":
    for verb in sys.argv[1].split(","):
        for spec in sys.argv[2:]:
            current, _, text = spec.partition("=")
            print(f"{current}\t{one()}", flush=True)
