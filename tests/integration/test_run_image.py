#!/usr/bin/python3
"""--image and `image`, as people use them: every form, a registry, what goes wrong, what stays in the store. As root the store of the host is hidden
under one of the test's own, in a mount namespace; an ordinary user has a home of its own anyway."""
import base64
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import harness  # noqa: E402
from harness import CLI, IS_ROOT, Result, as_user, both_modes, check, check_equal, cli_path, main, need_cli, poll, skip, stop, test  # noqa: E402
from images import Place, fixtures, registry  # noqa: E402

STATE = "/var/lib/creto-runtime"
HIDE = 'mount --bind "$1" %s && shift && exec "$@"' % STATE
FOLDERS = ("blobs/sha256", "layers", "refs", "tmp")


class Host:
    """Where `creto-runtime` finds an empty store, as root or as an ordinary user."""

    def __init__(self, user):
        need_cli()
        fixtures()
        self.user = user
        if user:
            self.state = tempfile.mkdtemp(prefix="state-", dir=Place.top)
            if IS_ROOT:
                os.chown(self.state, harness.USER, harness.USER)
            self.store = os.path.join(self.state, "creto-runtime/images")
        else:
            os.makedirs(STATE, mode=0o755, exist_ok=True)
            self.state = tempfile.mkdtemp(prefix="state-", dir=Place.top)
            os.chmod(self.state, 0o755)
            self.store = os.path.join(self.state, "images")

    def start(self, *args, env=None, **more):
        options = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **more)
        if self.user:
            return subprocess.Popen([cli_path(True), *args], **as_user(env=dict(env or {}, XDG_DATA_HOME=self.state), **options))
        return subprocess.Popen(["unshare", "-m", "sh", "-c", HIDE, "sh", self.state, CLI, *args], env=dict(os.environ, **(env or {})), **options)

    def creto(self, *args, **more):
        p = self.start(*args, **more)
        try:
            out, err = p.communicate(timeout=120)
            return Result(p.returncode, out, err)
        finally:
            stop(p)

    def good(self, *args, **more):
        r = self.creto(*args, **more)
        check(r.code == 0, f"{' '.join(args)}: {r}")
        return r.text

    def refused(self, what, status, message, image, hint=True):
        r = self.creto("run", "--image", image, "--", "true")
        check(r.code == status, f"{what}: exit status {r.code}, wanted {status}: {r}")
        check(message in r.notes, f"{what}: wanted '{message}' in {r.notes!r}")
        check(not hint or "\nhint: " in r.notes, f"{what}: no hint in {r.notes!r}")
        self.check_empty(what)

    def names(self, folder):
        path = os.path.join(self.store, folder)
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def check_empty(self, what):
        for folder in FOLDERS:
            check(not self.names(folder), f"{what}: {folder} still has {self.names(folder)[:3]}")


@contextlib.contextmanager
def host(user=False):
    h = Host(user)
    try:
        yield h
    finally:
        shutil.rmtree(h.state, ignore_errors=True)


def need_archives():
    if not os.path.exists(f"{fixtures()}/bb.docker.tar"):
        skip("no umoci or skopeo")


@test
def every_form():
    """host, dir:, a layout, both archives, a registry by tag and by digest: the same busybox everywhere."""
    top = fixtures()
    need_archives()
    with registry() as r:
        r.push("bb", "bb:1")
        raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{r.host}/bb:1"], capture_output=True, check=True).stdout
        digest = hashlib.sha256(raw).hexdigest()
        forms = [f"dir:{top}/rootfs", f"oci:{top}/layout:bb", f"oci-archive:{top}/bb.oci.tar:bb", f"docker-archive:{top}/bb.docker.tar",
                 f"{r.host}/bb:1", f"{r.host}/bb@sha256:{digest}", f"{r.host}/bb:1@sha256:{digest}"]
        with open(f"{top}/rootfs/bin/busybox", "rb") as f:
            wanted = hashlib.sha256(f.read()).hexdigest()
        for name, user in both_modes():
            with host(user) as h:
                for form in forms:
                    text = h.good("run", "--image", form, "--", "/bin/busybox", "sh", "-c", "id -u; busybox sha256sum /bin/busybox")
                    check_equal(text.split()[:2], ["0", wanted], f"{name}: {form}")
                check_equal(h.good("run", "--image", "host", "--", "echo", "x"), "x\n", f"{name}: host")


@test
def closed_archives():
    """An archive that only its owner may read: creto-image gets it open."""
    top = fixtures()
    need_archives()
    for name, user in both_modes():
        with host(user) as h:
            private = os.path.join(h.state, "private")
            os.mkdir(private, 0o700)
            shutil.copy(f"{top}/bb.oci.tar", f"{private}/bb.tar")
            os.chmod(f"{private}/bb.tar", 0o600)
            if user and IS_ROOT:
                os.chown(private, harness.USER, harness.USER)
                os.chown(f"{private}/bb.tar", harness.USER, harness.USER)
            check_equal(h.good("run", "--image", f"oci-archive:{private}/bb.tar:bb", "--", "echo", "x"), "x\n", f"{name}: run")
            check_equal(h.good("image", "list").split("\t")[0], f"oci-archive:{private}/bb.tar:bb", f"{name}: its name in the list")
            if user and not IS_ROOT:
                continue
            if user:  # somebody else's file
                os.chown(private, 0, 0)
                r = h.creto("run", "--image", f"docker-archive:{private}/bb.tar", "--", "true")
                check(r.code == 77 and "ermission denied" in r.notes, f"{name}: {r}")


@test
def configuration():
    """env, cwd, user, entrypoint and cmd come from the image; the command line has the last word."""
    top = fixtures()
    image = f"oci:{top}/layout:config"
    for name, user in both_modes():
        with host(user) as h:
            check_equal(h.good("run", "--image", image), "hello world\n", f"{name}: entrypoint and cmd")
            check_equal(h.good("run", "--image", image, "--", "pwd; echo $EMPTY.$GREETING"), "/tmp\n.hello world\n", f"{name}: entrypoint with another command")
            check_equal(h.good("run", "--image", image, "--env", "GREETING=ours", "--cwd", "/", "--", "pwd; echo $GREETING"), "/\nours\n", f"{name}: our own")
            if not user:  # an ordinary user has one id, which is 0 inside unless the image names a number
                check_equal(h.good("run", "--image", image, "--", "id -u"), "1000\n", f"{name}: user")


@test
def root_is_read_only():
    top = fixtures()
    for name, user in both_modes():
        with host(user) as h:
            script = "touch /tmp/a /run/b && for d in / /bin /etc; do touch $d/x 2>/dev/null && echo wrote $d; done; cat /etc/hosts | wc -l"
            check_equal(h.good("run", "--image", f"oci:{top}/layout:bb", "--", "sh", "-c", script).split()[0].isdigit(), True, f"{name}: what was written")


@test
def many_layers():
    """More layers than the names of which fit in one mount option."""
    with tempfile.TemporaryDirectory(prefix="many-", dir=(fixtures() and Place.top)) as top:
        os.chmod(top, 0o755)
        os.makedirs(f"{top}/blobs/sha256")

        def put(data, **more):
            name = hashlib.sha256(data).hexdigest()
            with open(f"{top}/blobs/sha256/{name}", "wb") as f:
                f.write(data)
            return {"digest": f"sha256:{name}", "size": len(data), **more}
        layers, ids = [], []
        for i in range(100):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as t:
                if i == 0:
                    t.add(f"{fixtures()}/rootfs", arcname=".")
                t.addfile(tarfile.TarInfo(f"layer{i}"))
            ids.append("sha256:" + hashlib.sha256(out.getvalue()).hexdigest())
            layers.append(put(out.getvalue(), mediaType="application/vnd.oci.image.layer.v1.tar"))
        arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        config = put(json.dumps({"architecture": arch, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ids}}).encode(),
                     mediaType="application/vnd.oci.image.config.v1+json")
        manifest = put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}).encode(),
                       mediaType="application/vnd.oci.image.manifest.v1+json", annotations={"org.opencontainers.image.ref.name": "x"})
        with open(f"{top}/index.json", "w") as f:
            json.dump({"schemaVersion": 2, "manifests": [manifest]}, f)
        release = tuple(int(x) for x in os.uname().release.split("-")[0].split(".")[:2])
        for name, user in both_modes():
            with host(user) as h:
                r = h.creto("run", "--image", f"oci:{top}:x", "--", "/bin/busybox", "sh", "-c", "ls / | grep -c ^layer")
                if release < (6, 5):
                    check(r.code == 69 and "fewer" in r.notes, f"{name}: {r}")
                else:
                    check(r.text == "100\n", f"{name}: {r}")


@test
def evil_images():
    """Each its own error with its own status, and nothing of it in the store."""
    top = f"{fixtures()}/evil"
    for name, user in both_modes():
        with host(user) as h:
            for evil, status, message in (("tampered", 66, "does not match its digest"), ("wrong-diffid", 66, "configuration says"), ("missing-blob", 66, "cannot be read"),
                                          ("traversal", 64, ".."), ("symlink-climb", 64, "'"), ("bomb", 75, "more than")):
                if os.path.isdir(f"{top}/{evil}"):
                    h.refused(f"{name}: {evil}", status, message, f"oci:{top}/{evil}:x", hint=False)


@test
def wrong_references():
    with host() if IS_ROOT else host(True) as h:
        h.refused("a path", 64, "is a path", "../../etc")
        h.refused("a URL", 64, "is a URL", "https://example.com/x")
        h.refused("capitals", 64, "capital letters", "Python:3.11")
        h.refused("a short digest", 64, "digest", "python@sha256:abc")
        h.refused("empty", 64, "is empty", "", hint=False)
        h.refused("no such layout", 66, "cannot open", "oci:/nonexistent")
        h.refused("no such archive", 66, "cannot open", "oci-archive:/nonexistent")
        h.refused("no such directory", 66, "cannot open", "dir:/nonexistent")
        h.refused("no such tag", 66, "nosuchtag", f"oci:{fixtures()}/layout:nosuchtag", hint=False)
        h.refused("a directory as archive", 64, "is not a file", "oci-archive:/etc", hint=False)
        h.refused("a pipe as archive", 64, "is not a file", "docker-archive:/dev/zero", hint=False)
        h.refused("not an archive", 64, "", "docker-archive:/etc/passwd", hint=False)
        for words in (["image"], ["image", "pull"], ["image", "frobnicate"], ["image", "list", "extra"]):
            r = h.creto(*words)
            check(r.code == 64 and "usage:" in r.notes, f"{words}: {r}")
        r = h.creto("image", "rm", "nothing:1")
        check(r.code == 66 and "is not in the store" in r.notes and "hint:" in r.notes, f"rm: {r}")
        r = h.creto("image", "pull", "host")
        check(r.code == 64 and "hint:" in r.notes, f"pull host: {r}")


@test
def registries():
    """Missing, down, tampered, with a password; by the command line, as root and not."""
    for name, user in both_modes():
        with registry(auth=True) as r, host(user) as h:
            image = f"{r.host}/private/app:1"
            r.push("config", "private/app:1", "--dest-creds", "user:secret")
            h.refused(f"{name}: no credentials", 77, "credentials", image)
            auth = os.path.join(h.state, "auth.json")
            with open(auth, "w") as f:
                json.dump({"auths": {r.host: {"auth": base64.b64encode(b"user:secret").decode()}}}, f)
            os.chmod(auth, 0o600)
            if user and IS_ROOT:
                os.chown(auth, harness.USER, harness.USER)
            env = {"REGISTRY_AUTH_FILE": auth}
            check_equal(h.good("run", "--image", image, env=env), "hello world\n", f"{name}: with credentials")
            check_equal(h.good("run", "--image", image), "hello world\n", f"{name}: from the store")
            h.good("image", "rm", image)
            h.check_empty(f"{name}: after rm")
            h.good("image", "pull", image, env=env)
            check(image in h.good("image", "list"), f"{name}: not in the list")
            r.push("plain", "private/app:1", "--dest-creds", "user:secret")
            before = h.good("image", "list")
            h.good("run", "--pull", "--image", image, "--", "/bin/busybox", "true", env=env)
            check(h.good("image", "list") != before, f"{name}: --pull kept the old one")
            h.good("image", "rm", image)
            missing = h.creto("run", "--image", f"{r.host}/private/app:2", "--", "true", env=env)
            check(missing.code == 66 and "no such tag" in missing.notes and "hint:" in missing.notes, f"{name}: missing tag: {missing}")
            layer = max(r.blob_paths(100000), key=os.path.getsize)
            with open(layer, "r+b") as f:
                f.seek(5000)
                f.write(b"tampered")
            bad = h.creto("run", "--image", image, "--", "true", env=env)
            check(bad.code == 66 and "does not match" in bad.notes, f"{name}: tampered: {bad}")
            h.check_empty(f"{name}: after a tampered layer")
            r.stop()
            h.refused(f"{name}: registry down", 69, "does not answer", image)
            env["REGISTRY_AUTH_FILE"] = "/nonexistent"
            lost = h.creto("run", "--image", image, "--", "true", env=env)
            check(lost.code == 77 and "REGISTRY_AUTH_FILE" in lost.notes, f"{name}: no such file of credentials: {lost}")


@test
def two_runs_pull_once():
    with registry() as r, host(not IS_ROOT) as h:
        r.push("config", "t:1")
        layer = os.path.basename(os.path.dirname(max(r.blob_paths(100000), key=os.path.getsize)))
        running = [h.start("run", "--image", f"{r.host}/t:1") for _ in range(5)]
        for p in running:
            out, err = p.communicate(timeout=120)
            check(p.returncode == 0 and out == b"hello world\n", f"{out} {err}")
        r.stop()
        served = [line for line in r.said().splitlines() if f"/blobs/sha256:{layer}" in line and '"GET' in line]
        check(len(served) <= 1, f"the layer was fetched {len(served)} times")
        check_equal(h.names("tmp"), [], "tmp")


@test
def what_runs_keeps_its_layers():
    top = fixtures()
    with host(not IS_ROOT) as h:
        image = f"oci:{top}/layout:bb"
        p = h.start("run", "--image", image, "--", "/bin/busybox", "sh", "-c", "echo up; sleep 30")
        try:
            check_equal(p.stdout.readline(), b"up\n", "the first line")
            layers = h.names("layers")
            text = h.good("image", "rm", image)
            check("stay until" in text, f"rm said {text!r}")
            check_equal((h.names("layers"), h.good("image", "list")), (layers, ""), "layers and list after rm")
        finally:
            p.send_signal(signal.SIGTERM)
            p.communicate(timeout=20)
        h.good("image", "prune")
        h.check_empty("after prune")


@test
def interrupted_pulls():
    """^C, or SIGKILL, while it pulls: no process stays, and the next run starts from what is complete."""
    with registry() as r, host(not IS_ROOT) as h:
        r.push("layers", "t:1")
        for signo in (signal.SIGINT, signal.SIGKILL):
            for delay in (0.02, 0.05, 0.1, 0.2):
                p = h.start("image", "pull", f"{r.host}/t:1")
                time.sleep(delay)
                below = harness.descendants(p.pid)
                p.send_signal(signo)
                p.communicate(timeout=20)
                check(poll(lambda: not any(harness.alive(c) for c in below), 10), f"still there: {below}")
        h.good("image", "pull", f"{r.host}/t:1")
        check_equal((len(h.names("layers")), h.names("tmp")), (4, []), "layers, tmp")


@test
def a_full_disk():
    """The store's file system is full: the image is refused by name, and nothing of it stays."""
    if not IS_ROOT:
        skip("mounting is root's")
    top = fixtures()
    with host() as h:
        script = ('mount -t tmpfs -o size=1500k,mode=755 none %s && "$1" run --image "$2" -- true; r=$?; cd %s/images && find blobs layers refs tmp -mindepth 1 '
                  '-not -name sha256; exit $r' % (STATE, STATE))
        p = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", CLI, f"oci:{top}/layout:bb"], capture_output=True, text=True, timeout=60,
                           stdin=subprocess.DEVNULL, check=False)
        check(p.returncode == 75, f"exit {p.returncode}, {p.stderr!r}")
        check("No space left" in p.stderr or "full" in p.stderr, f"message: {p.stderr!r}")
        check_equal(p.stdout, "", "what stayed")
        check_equal(h.names("layers"), [], "layers")


@test
def progress_on_a_terminal():
    """Somebody who waits at a terminal sees what for; a pipe gets nothing but output."""
    with registry() as r, host(not IS_ROOT) as h:
        r.push("config", "t:1")
        master, slave = os.openpty()
        options = dict(env={"XDG_DATA_HOME": h.state}) if h.user else {}
        p = h.start("run", "--image", f"{r.host}/t:1", **options)
        check_equal(p.communicate(timeout=60), (b"hello world\n", b""), "without a terminal")
        h.good("image", "rm", f"{r.host}/t:1")
        words = [cli_path(h.user), "run", "--image", f"{r.host}/t:1"]
        seen = []
        reader = threading.Thread(target=lambda: drain(master, seen))
        reader.start()
        if h.user:
            p = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave, **as_user(env={"XDG_DATA_HOME": h.state}))
        else:
            p = subprocess.Popen(["unshare", "-m", "sh", "-c", HIDE, "sh", h.state, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        out = p.communicate(timeout=60)[0]
        reader.join()
        os.close(master)
        check_equal(out, b"hello world\n", "output")
        check(b"pulling" in b"".join(seen), f"on the terminal: {seen}")


def drain(fd, into):
    with contextlib.suppress(OSError):
        while data := os.read(fd, 4096):
            into.append(data)


if __name__ == "__main__":
    try:
        main()
    finally:
        Place.remove()
