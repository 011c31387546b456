#!/usr/bin/python3
"""creto-image by itself: sources, evil images, whiteouts under overlayfs, registries, concurrency, kills. As root it is run as the warden runs it,
as root of a user namespace with the image ids, on a store that no path leads to for it; and also with a single id, and as real root."""
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import BUILD, alive, check, check_equal, main, poll, report, skip, test  # noqa: E402
from images import Place, fixtures, registry  # noqa: E402

IMAGE = os.path.join(BUILD, "src/programs/image/creto-image")
IMAGE_UID, IDS = 0x70000000, 65536
CLONE_NEWUSER = 0x10000000
PR_SET_DUMPABLE = 4
IS_ROOT = os.geteuid() == 0
EXIT = {"IMAGE_NOT_FOUND": 66, "AUTHORIZATION_DENIED": 77, "RESOURCE_EXHAUSTED": 75, "INVALID_SPEC": 64, "BACKEND_UNAVAILABLE": 69,
        "UNAUTHENTICATED": 77, "RATE_LIMITED": 75, "NOT_SUPPORTED": 69, "INTERNAL_ERROR": 70}
libc = ctypes.CDLL(None, use_errno=True)


# ---- places and modes ----

def userns(outside, count):
    """A descriptor of a user namespace whose ids 0 to count - 1 are `outside` and up."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            libc.unshare(CLONE_NEWUSER)
            os.write(w, b"x")
            signal.pause()
        finally:
            os._exit(0)
    try:
        os.read(r, 1)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w") as f:
                f.write(f"0 {outside} {count}\n")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(r)
        os.close(w)


class Mode:
    """How creto-image is run: `range` as the warden does, `one` with a single id, `root` as real root, `user` as what we are."""

    def __init__(self, name):
        self.name = name
        self.uid = {"range": IMAGE_UID, "one": 12345 if IS_ROOT else os.getuid(), "root": 0, "user": os.getuid()}[name]

    def enter(self, store):
        os.chdir(store)
        if self.name == "range":
            check(libc.setns(Mode.ns, CLONE_NEWUSER) == 0, "setns")
        if self.name == "range" or (self.name == "one" and IS_ROOT):
            ids = 0 if self.name == "range" else self.uid
            os.setgroups([])
            os.setresgid(ids, ids, ids)
            os.setresuid(ids, ids, ids)
        if self.name == "one":
            uid, gid = os.geteuid(), os.getegid()
            libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self is still root's
            check(libc.unshare(CLONE_NEWUSER) == 0, "unshare")
            for path, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                with open(f"/proc/self/{path}", "w") as f:
                    f.write(text)


def modes():
    if IS_ROOT and not hasattr(Mode, "ns"):
        Mode.ns = userns(IMAGE_UID, IDS)
    return [Mode(n) for n in (("range", "one", "root") if IS_ROOT else ("one", "user"))]


class Answer:
    def __init__(self, p):
        self.code, self.out, self.notes = p.returncode, p.stdout, p.stderr.decode(errors="replace")
        self.value = None
        with contextlib.suppress(ValueError):
            self.value = json.loads(p.stdout)

    @property
    def error(self):
        return self.value.get("error", {}).get("code") if isinstance(self.value, dict) else None

    def __str__(self):
        return f"exit {self.code}, {self.out[-500:]!r}, {self.notes[-300:]!r}"


class Store:
    """A store of its own for a test, in a directory that only its creator can look into: the program gets it as `.`."""

    def __init__(self, mode):
        self.mode = mode
        self.parent = tempfile.mkdtemp(prefix=f"store-{mode.name}-", dir=Place.top)
        self.path = os.path.join(self.parent, "images")
        os.mkdir(self.path, 0o700)
        if IS_ROOT and mode.uid:
            os.chown(self.path, mode.uid, mode.uid)

    def start(self, *args, fds=(), env=None):
        e = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", **(env or {})}
        exe = os.open(IMAGE, os.O_RDONLY)
        try:
            return subprocess.Popen([f"/proc/self/fd/{exe}", "--store", ".", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    pass_fds=(exe, *fds), env=e, preexec_fn=lambda: self.mode.enter(self.path))
        finally:
            os.close(exe)

    def run(self, *args, **how):
        p = self.start(*args, **how)
        p.stdout, p.stderr = p.communicate(timeout=120)
        return Answer(p)

    def good(self, *args, **how):
        a = self.run(*args, **how)
        check(a.code == 0 and isinstance(a.value, dict), f"{args[-1]}: {a}")
        return a.value

    def names(self, what):
        return sorted(os.listdir(os.path.join(self.path, what)))

    def layer(self, hex_, *path):
        return os.path.join(self.path, "layers", hex_, *path)

    def give(self, path):
        """To whom the store belongs."""
        if IS_ROOT and self.mode.uid:
            subprocess.run(["chown", "-R", f"{self.mode.uid}:{self.mode.uid}", os.path.join(self.path, path)], check=True)

    def check_empty(self, what):
        for folder in ("blobs/sha256", "layers", "refs", "tmp"):
            check(not self.names(folder), f"{what}: {folder} still has {self.names(folder)[:3]}")

    def remove(self):
        shutil.rmtree(self.parent, ignore_errors=True)


@contextlib.contextmanager
def store(mode=None):
    fixtures()
    s = Store(mode or modes()[0])
    try:
        yield s
    finally:
        s.remove()


def wanted(code, a, what):
    check(a.error == code, f"{what}: wanted {code}, got {a}")
    check(a.code == EXIT[code], f"{what}: exit status {a.code}, wanted {EXIT[code]}")
    check(a.value["error"]["message"], f"{what}: no message")


# ---- local sources ----

@test
def sources():
    """The same root from a layout, an oci-archive and a docker-archive; in each mode."""
    top = fixtures()
    if not os.path.exists(f"{top}/bb.docker.tar"):
        skip("no umoci or skopeo")
    for mode in modes():
        with store(mode) as s:
            a = s.good("resolve", f"oci:{top}/layout:bb")
            b = s.good("resolve", f"oci-archive:{top}/bb.oci.tar:bb")
            c = s.good("resolve", f"docker-archive:{top}/bb.docker.tar")
            d = s.good("resolve", f"docker-archive:{top}/bb.docker.tar:localhost/bb:1")
            check_equal([x["layers"] for x in (b, c, d)], [a["layers"]] * 3, f"{mode.name}: layers")
            check_equal(b["id"], a["id"], f"{mode.name}: id")
            check_equal((a["env"], a["cmd"], a["cwd"]), (["PATH=/bin"], ["sh"], "/"), f"{mode.name}: configuration")
            check_equal(s.names("tmp"), [], f"{mode.name}: tmp")
            st = os.stat(s.layer(a["layers"][-1], "bin/busybox"))
            check_equal((st.st_uid, st.st_size), (mode.uid, os.stat(f"{top}/rootfs/bin/busybox").st_size), f"{mode.name}: busybox")
            check_equal(os.stat(s.layer(a["layers"][-1], "tmp")).st_mode & 0o7777, 0o1777, f"{mode.name}: mode of /tmp")
            check_equal(len(s.good("list", "--json") if False else json.loads(s.run("list", "--json").out)), 4, f"{mode.name}: list")


@test
def by_descriptor():
    """As the warden passes them: /proc/self/fd/N, with the name to show beside; also where the file is not ours to open."""
    top = fixtures()
    with store() as s:
        fd = os.open(f"{top}/layout", os.O_RDONLY | os.O_DIRECTORY)
        a = s.good("--image-name", "oci:./layout:config", "resolve", f"oci:/proc/self/fd/{fd}:config", fds=(fd,))
        check_equal(a["ref"], "oci:./layout:config", "ref")
        check_equal((a["env"], a["cwd"], a["user"], a["entrypoint"], a["cmd"]),
                    (["PATH=/bin", "GREETING=hello world", "EMPTY="], "/tmp", "app", ["/bin/sh", "-c"], ["echo $GREETING"]), "configuration")
        os.close(fd)
        e = s.run("--image-name", "nice name", "resolve", "oci:/proc/self/fd/99:config")
        wanted("IMAGE_NOT_FOUND", e, "closed descriptor")
        check("nice name" in e.value["error"]["message"], f"the message has another name: {e}")
        if os.path.exists(f"{top}/bb.oci.tar"):
            private = os.path.join(s.parent, "private.tar")
            shutil.copy(f"{top}/bb.oci.tar", private)
            os.chmod(private, 0o600)
            fd = os.open(private, os.O_RDONLY)
            s.good("--image-name", "private", "resolve", f"oci-archive:/proc/self/fd/{fd}", fds=(fd,))
            os.close(fd)


@test
def compressions():
    top = fixtures()
    with store() as s:
        a = s.good("resolve", f"oci:{top}/layout:plain")
        check_equal(s.good("resolve", f"oci:{top}/layout:config")["layers"], a["layers"], "layers of gzip")
        if os.path.exists("/usr/bin/zstd"):
            check_equal(s.good("resolve", f"oci:{top}/layout:zstd")["layers"], a["layers"], "layers of zstd")


@test
def index_of_machines():
    top = fixtures()
    with store() as s:
        check_equal(s.good("resolve", f"oci:{top}/layout:arch")["id"], s.good("resolve", f"oci:{top}/layout:arch-own")["id"], "id")


@test
def usr_merged():
    top = fixtures()
    with store() as s:
        a = s.good("resolve", f"oci:{top}/layout:usrmerge")
        with open(s.layer(a["layers"][-1], "usr/lib/thing")) as f:
            check_equal(f.read(), "merged\n", "lib/thing")


@test
def local_again_follows_the_source():
    """A layout that has changed is another image; an archive too; and the file is not read again where it has not."""
    top = fixtures()
    with store() as s:
        copy = os.path.join(Place.top, "changing")
        shutil.copytree(f"{top}/layout", copy)
        a = s.good("resolve", f"oci:{copy}:config")
        index = json.load(open(f"{copy}/index.json"))
        for m in index["manifests"]:
            tags = m["annotations"]
            tags["org.opencontainers.image.ref.name"] = {"config": "old", "plain": "config"}.get(tags["org.opencontainers.image.ref.name"],
                                                                                                tags["org.opencontainers.image.ref.name"])
        json.dump(index, open(f"{copy}/index.json", "w"))
        check(s.good("resolve", f"oci:{copy}:config")["id"] != a["id"], "the old image came again")
        shutil.rmtree(copy)
        wanted("IMAGE_NOT_FOUND", s.run("resolve", f"oci:{copy}:config"), "a layout that is gone")


@test
def wire():
    top = fixtures()
    with store() as s:
        value = s.good("resolve", f"oci:{top}/layout:config")
        data = s.run("--wire", "resolve", f"oci:{top}/layout:config").out
        at = 0

        def u32():
            nonlocal at
            at += 4
            return struct.unpack_from("<I", data, at - 4)[0]

        def text():
            nonlocal at
            n = u32()
            at += n
            return data[at - n:at].decode()
        check_equal((u32(), data[at]), (0x43494d47, 1), "head")
        at += 1
        got = {"id": text(), "layers": [text() for _ in range(u32())], "env": [text() for _ in range(u32())], "cwd": text(), "user": text(),
               "entrypoint": [text() for _ in range(u32())], "cmd": [text() for _ in range(u32())]}
        check_equal(at, len(data), "length")
        check_equal(got, {k: v for k, v in value.items() if k != "ref"}, "answer")
        data, at = s.run("--wire", "resolve", "../../etc").out, 0
        check_equal((u32(), data[at]), (0x43494d47, 0), "head of an error")
        at += 1
        check_equal(u32(), 4, "INVALID_SPEC's place in the list")
        check("is a path" in text() and "dir:" in text(), "error text")


@test
def bad_requests():
    top = fixtures()
    with store() as s:
        for ref in ("../../etc", "/etc", "", "UPPER", "a b", "x:", "python@sha256:12", "oci:", "http://x/y", "host", f"dir:{top}/rootfs"):
            a = s.run("resolve", ref)
            wanted("INVALID_SPEC", a, repr(ref))
            check(a.value["error"]["hint"], f"{ref!r} has no hint: {a}")
        check("dir:" in s.run("resolve", "../../etc").value["error"]["hint"], "no dir: in the hint")
        wanted("IMAGE_NOT_FOUND", s.run("resolve", f"oci:{top}/nothing"), "no directory")
        wanted("IMAGE_NOT_FOUND", s.run("resolve", f"oci:{top}/layout:none"), "no tag")
        wanted("INVALID_SPEC", s.run("resolve", f"oci:{top}/layout"), "many tags, none named")
        wanted("IMAGE_NOT_FOUND", s.run("resolve", f"oci:{top}/rootfs"), "no layout")
        wanted("INVALID_SPEC", s.run("resolve", f"oci-archive:{top}"), "no file")
        wanted("INVALID_SPEC", s.run("frobnicate"), "no verb")
        wanted("IMAGE_NOT_FOUND", s.run("rm", "python:3.11"), "nothing to remove")
        s.check_empty("after bad requests")


# ---- evil images ----

@test
def evil():
    top = fixtures()
    outside = "/tmp/creto-evil-was-here"
    for mode in modes():
        for line in open(f"{top}/evil/expect"):
            name, code = line.split()
            with store(mode) as s:
                a = s.run("resolve", f"oci:{top}/evil/{name}:x")
                if code == "ok":
                    problem = a.code != 0
                else:
                    problem = a.error != code or a.code != EXIT[code]
                if code != "ok" and not problem:
                    left = [f"{d}/{n}" for d in ("blobs/sha256", "layers", "refs", "tmp") for n in s.names(d)]
                    problem = bool(left) and f"left in the store: {left}"
                problem = problem or (os.path.lexists(outside) and f"{outside} was made")
                if os.path.lexists(outside):
                    os.unlink(outside)
                if problem:
                    report("not ok", f"evil-{mode.name}-{name}", f"{problem}; wanted {code}, got {a}")
                else:
                    report("ok", f"evil-{mode.name}-{name}")
    return report


@test
def evil_limit():
    top = fixtures()
    with store() as s:
        a = s.run("--max-layer-bytes", "100K", "resolve", f"oci:{top}/layout:config")
        wanted("RESOURCE_EXHAUSTED", a, "a layer over --max-layer-bytes")
        s.check_empty("after the limit")


@test
def messages_name_the_thing():
    top = fixtures()
    with store() as s:
        for name, words in (("traversal", "'..'"), ("device", "dev/mem"), ("symlink-dir", "evil/creto-evil-was-here"), ("tampered", "does not match its digest"),
                            ("wrong-diffid", "configuration says"), ("other-machine", "sparc64")):
            message = s.run("resolve", f"oci:{top}/evil/{name}:x").value["error"]["message"]
            check(words in message, f"{name}: {message}")


@test
def attributes():
    """Only user.* attributes come through, and none of overlayfs's."""
    top = fixtures()
    with store() as s:
        a = s.good("resolve", f"oci:{top}/evil/xattrs:x")
        d = s.layer(a["layers"][0], "d")
        check_equal(sorted(os.listxattr(d)), ["user.good"], "attributes")


# ---- whiteouts ----

OVERLAY = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/m"
mount -t overlay overlay -o "ro,userxattr,lowerdir=$2" "$1/m"
cd "$1/m/opt"
find . | sort | tr '\\n' ' '; echo
cat goes dir/new again/fresh stays
stat -c '%u %a %h' perm stays
"""


@test
def whiteouts_under_overlayfs():
    """Layers mounted as the warden does: overlayfs, read-only, userxattr, by real root."""
    if not IS_ROOT:
        skip("mounting is root's")
    top = fixtures()
    for mode in modes():
        with store(mode) as s:
            layers = s.good("resolve", f"oci:{top}/layout:layers")["layers"]
            check_equal(len(layers), 4, "layers")
            lower = ":".join(s.layer(h) for h in reversed(layers))
            os.mkdir(f"{s.parent}/m")
            r = subprocess.run(["env", "LIBMOUNT_FORCE_MOUNT2=always", "unshare", "-m", "sh", "-c", OVERLAY, "sh", f"{s.parent}/m", lower], capture_output=True, text=True)
            check(r.returncode == 0, f"{mode.name}: {r.stderr}")
            lines = r.stdout.splitlines()
            check_equal(lines[0].split(), [".", "./again", "./again/fresh", "./dir", "./dir/new", "./goes", "./perm", "./stays", "./twin"], f"{mode.name}: names")
            check_equal(lines[1:5], ["3", "2", "2", "1"], f"{mode.name}: content")
            owner = {"range": IMAGE_UID + 1000, "one": 12345, "root": 1000}[mode.name]
            check_equal(lines[5:], [f"{owner} 755 1", f"{mode.uid} 644 2"], f"{mode.name}: owner, mode without setuid, links")


@test
def layer_named_twice():
    """overlayfs takes a layer once; the highest place is the one that counts."""
    top = fixtures()
    with store() as s:
        layers = s.good("resolve", f"oci:{top}/layout:twice")["layers"]
        check_equal(len(layers), 3, "layers")
        check(os.path.exists(s.layer(layers[2], "extra")), "the last layer is not the one that was named twice")


# ---- removing ----

@test
def remove_and_prune():
    top = fixtures()
    with store() as s:
        a = s.good("resolve", f"oci:{top}/layout:layers")
        b = s.good("resolve", f"oci:{top}/layout:config")
        check_equal(a["layers"][0], b["layers"][0], "the shared layer")
        check_equal(s.good("rm", a["ref"])["layers"], 3, "layers removed")
        check_equal(s.names("layers"), b["layers"], "layers left")
        os.makedirs(f"{s.path}/layers/{'0' * 64}/x", exist_ok=True)
        s.give(f"layers/{'0' * 64}")
        s.good("prune")
        check_equal(s.names("layers"), b["layers"], "layers after prune")
        s.good("resolve", f"oci:{top}/layout:config")
        s.good("rm", b["ref"])
        s.check_empty("after the last rm")


@test
def a_layer_in_use_stays():
    top = fixtures()
    with store() as s:
        a = s.good("resolve", f"oci:{top}/layout:config")
        fd = os.open(s.layer(a["layers"][0]), os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(fd, fcntl.LOCK_SH)
        r = s.good("rm", a["ref"])
        check_equal((r["inUse"], s.names("layers")), (1, a["layers"]), "in use")
        os.close(fd)
        s.good("prune")
        s.check_empty("after prune")


@test
def leftovers_go():
    """What a crash left in tmp/ goes at the next run, unless somebody has it locked; a layer that was removed by hand is unpacked again."""
    top = fixtures()
    with store() as s:
        a = s.good("resolve", f"oci:{top}/layout:config")
        for name in ("abandoned", "busy"):
            os.makedirs(f"{s.path}/tmp/{name}/deep/tree")
            s.give(f"tmp/{name}")
        fd = os.open(f"{s.path}/tmp/busy", os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        shutil.rmtree(s.layer(a["layers"][0]))
        check_equal(s.good("resolve", f"oci:{top}/layout:config"), a, "the answer")
        check_equal(s.names("tmp"), ["busy"], "tmp")
        os.close(fd)
        s.run("list")
        check_equal(s.names("tmp"), [], "tmp")


@test
def a_damaged_configuration_is_fetched_again():
    top = fixtures()
    with store() as s:
        a = s.good("resolve", f"oci:{top}/layout:config")
        with open(f"{s.path}/blobs/sha256/{a['id'][7:]}", "r+b") as f:
            f.write(b"[")
        check_equal(s.good("resolve", f"oci:{top}/layout:config"), a, "the answer")


@test
def killed_while_unpacking():
    top = fixtures()
    with store() as s:
        for delay in (0.005, 0.01, 0.02, 0.03, 0.05, 0.1):
            p = s.start("resolve", f"oci:{top}/layout:layers")
            time.sleep(delay)
            p.kill()
            p.communicate()
        a = s.good("resolve", f"oci:{top}/layout:layers")
        check_equal(len(a["layers"]), 4, "layers")
        check_equal(s.names("tmp"), [], "tmp")


@test
def concurrent_local():
    top = fixtures()
    with store() as s:
        running = [s.start("resolve", f"oci:{top}/layout:{tag}") for tag in ("config", "layers", "plain") * 4]
        answers = []
        for p in running:
            out, err = p.communicate(timeout=120)
            check(p.returncode == 0, f"{out} {err}")
            answers.append(json.loads(out))
        check_equal(len(s.names("layers")), 4, "layers")
        check_equal(s.names("tmp"), [], "tmp")


# ---- registries ----

@test
def pull_from_a_registry():
    with registry() as r:
        r.push("layers", "test/layers:1")
        r.push("config", "test/config:1")
        r.push("config", "test/docker:1", "--format", "v2s2")
        raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{r.host}/test/docker:1"], capture_output=True, check=True).stdout
        docker_id = json.loads(raw)["config"]["digest"]
        for mode in modes():
            with store(mode) as s:
                local = s.good("resolve", f"oci:{fixtures()}/layout:layers")
                a = s.good("--progress", "resolve", f"{r.host}/test/layers:1")
                check_equal((a["layers"], a["id"]), (local["layers"], local["id"]), f"{mode.name}: image")
                check_equal(a["ref"], f"{r.host}/test/layers:1", f"{mode.name}: ref")
                d = s.good("resolve", f"{r.host}/test/docker:1")
                check_equal(d["id"], docker_id, f"{mode.name}: id of a docker image")
                check_equal((d["env"], d["user"]), (["PATH=/bin", "GREETING=hello world", "EMPTY="], "app"), f"{mode.name}: configuration")
                import hashlib
                digest = "sha256:" + hashlib.sha256(raw).hexdigest()
                check_equal(s.good("resolve", f"{r.host}/test/docker@{digest}")["id"], docker_id, f"{mode.name}: by digest")
                check_equal(s.names("tmp"), [], f"{mode.name}: tmp")
                listed = [line.split("\t")[0] for line in s.run("list").out.decode().splitlines()]
                check(f"{r.host}/test/layers:1" in listed, f"{mode.name}: list is {listed}")


@test
def a_tag_is_asked_for_once():
    """A tag that we have needs no registry; --pull follows it to where it points now."""
    with registry() as r, store() as s:
        r.push("config", "t:1")
        a = s.good("resolve", f"{r.host}/t:1")
        r.push("plain", "t:1")
        check_equal(s.good("resolve", f"{r.host}/t:1"), a, "without --pull")
        b = s.good("--pull", "resolve", f"{r.host}/t:1")
        check(b["id"] != a["id"], "--pull brought the old one")
        r.stop()
        check_equal(s.good("resolve", f"{r.host}/t:1"), b, "with the registry down")
        e = s.run("pull", f"{r.host}/t:1")
        wanted("BACKEND_UNAVAILABLE", e, "pull with the registry down")
        check_equal(s.good("resolve", f"{r.host}/t:1"), b, "after a pull that failed")


@test
def registry_failures():
    with registry() as r, store() as s:
        r.push("config", "there:1")
        wanted("IMAGE_NOT_FOUND", s.run("resolve", f"{r.host}/there:2"), "missing tag")
        wanted("IMAGE_NOT_FOUND", s.run("resolve", f"{r.host}/nowhere:1"), "missing repository")
        wanted("IMAGE_NOT_FOUND", s.run("resolve", f"{r.host}/there@sha256:{'0' * 64}"), "missing digest")
        e = s.run("--skopeo", "/nonexistent/skopeo", "resolve", f"{r.host}/there:1")
        wanted("BACKEND_UNAVAILABLE", e, "no skopeo")
        check("apt install skopeo" in e.value["error"]["hint"], f"hint: {e}")
        layer = max(r.blob_paths(100000), key=os.path.getsize)
        with open(layer, "r+b") as f:
            f.seek(5000)
            f.write(b"tampered")
        e = s.run("resolve", f"{r.host}/there:1")
        wanted("IMAGE_NOT_FOUND", e, "tampered layer")
        check("digest" in e.value["error"]["message"], f"message: {e}")
        r.stop()
        e = s.run("resolve", f"{r.host}/there:1")
        wanted("BACKEND_UNAVAILABLE", e, "registry down")
        check("does not answer" in e.value["error"]["message"], f"message: {e}")
        s.check_empty("after failures")


@test
def registry_with_a_password():
    with registry(auth=True) as r, store() as s:
        import base64
        r.push("config", "secret:1", "--dest-creds", "user:secret")
        e = s.run("resolve", f"{r.host}/secret:1")
        wanted("UNAUTHENTICATED", e, "no credentials")
        auth = os.path.join(Place.top, "auth.json")
        with open(auth, "w") as f:
            json.dump({"auths": {r.host: {"auth": base64.b64encode(b"user:wrong").decode()}}}, f)
        wanted("UNAUTHENTICATED", s.run("resolve", f"{r.host}/secret:1", env={"REGISTRY_AUTH_FILE": auth}), "wrong password")
        with open(auth, "w") as f:
            json.dump({"auths": {r.host: {"auth": base64.b64encode(b"user:secret").decode()}}}, f)
        s.good("resolve", f"{r.host}/secret:1", env={"REGISTRY_AUTH_FILE": auth})
        s.good("rm", f"{r.host}/secret:1")
        fd = os.open(auth, os.O_RDONLY)
        s.good("--authfile", f"/proc/self/fd/{fd}", "resolve", f"{r.host}/secret:1", fds=(fd,))
        os.close(fd)


@test
def concurrent_pulls_are_one():
    with registry() as r, store() as s:
        r.push("config", "t:1")
        layer = os.path.basename(os.path.dirname(max(r.blob_paths(100000), key=os.path.getsize)))
        running = [s.start("resolve", f"{r.host}/t:1") for _ in range(6)]
        answers = set()
        for p in running:
            out, err = p.communicate(timeout=120)
            check(p.returncode == 0, f"{out} {err}")
            answers.add(out)
        check_equal(len(answers), 1, "answers")
        r.stop()
        fetched = r.said().count(f"GET /v2/t/blobs/sha256:{layer}")
        served = [line for line in r.said().splitlines() if f"/blobs/sha256:{layer}" in line and '"GET' in line]
        check(len(served) == 1 or fetched == 1, f"the layer was fetched {len(served) or fetched} times")
        check_equal(s.names("tmp"), [], "tmp")


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(x) for x in f.read().split()]
    except OSError:
        return []


@test
def killed_while_pulling():
    """The next run goes on; nothing of the killed one stays, no process either."""
    with registry() as r, store() as s:
        r.push("layers", "t:1")
        for delay in (0.02, 0.05, 0.1, 0.2, 0.3):
            p = s.start("resolve", f"{r.host}/t:1")
            time.sleep(delay)
            below = children(p.pid)
            p.kill()
            p.communicate()
            check(poll(lambda: not any(alive(c) for c in below), 5), f"still there: {below}")
        check_equal(len(s.good("resolve", f"{r.host}/t:1")["layers"]), 4, "layers")
        check_equal(s.names("tmp"), [], "tmp")


def stalling_server(port_out, stop):
    """Accepts, and never answers: a registry that hangs."""
    k = socket.socket()
    k.bind(("127.0.0.1", 0))
    k.listen()
    port_out.append(k.getsockname()[1])
    stop.wait()
    k.close()


@test
def ended_while_the_registry_hangs():
    if not shutil.which("skopeo"):
        skip("no skopeo (apt install skopeo)")
    port, stop = [], threading.Event()
    t = threading.Thread(target=stalling_server, args=(port, stop))
    t.start()
    try:
        poll(lambda: port)
        with store() as s:
            p = s.start("resolve", f"127.0.0.1:{port[0]}/t:1")
            below = poll(lambda: children(p.pid), 5)
            p.terminate()
            p.communicate(timeout=10)
            check(poll(lambda: not any(alive(c) for c in below), 5), f"still there: {below}")
            s.run("list")
            s.check_empty("after SIGTERM")
    finally:
        stop.set()
        t.join()


if __name__ == "__main__":
    if not os.path.exists(IMAGE):
        print(f"skip image: {IMAGE} is not built\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    try:
        main()
    finally:
        Place.remove()
