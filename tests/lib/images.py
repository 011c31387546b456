"""Images to test with, and a registry to pull them from."""
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile

from harness import ROOT, check, poll, skip

FIXTURES = os.path.join(ROOT, "tests/integration/image_fixtures.sh")
HTPASSWD = "user:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"  # of "secret"


class Place:
    """Fixtures that everybody can read, and stores that only their owner can."""
    top = public = None

    @staticmethod
    def remove():
        if Place.top:
            shutil.rmtree(Place.top, ignore_errors=True)


def fixtures():
    if Place.public is None:
        Place.top = tempfile.mkdtemp(prefix="creto-image-test-")
        os.chmod(Place.top, 0o711)
        Place.public = os.path.join(Place.top, "fixtures")
        r = subprocess.run([FIXTURES, Place.public], capture_output=True, text=True)
        if r.returncode == 69:
            skip(r.stderr.strip())
        check(r.returncode == 0, f"the fixtures: {r.stderr[-500:]}")
    return Place.public


class Registry:
    """Debian's docker-registry on loopback."""

    def __init__(self, auth=False):
        if not shutil.which("docker-registry"):
            skip("no docker-registry (apt install docker-registry)")
        if not shutil.which("skopeo"):
            skip("no skopeo (apt install skopeo)")
        fixtures()
        self.dir = tempfile.mkdtemp(prefix="registry-", dir=Place.top)
        with socket.socket() as k:
            k.bind(("127.0.0.1", 0))
            self.port = k.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        text = (f"version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {self.dir}/data}}\n  delete: {{enabled: true}}\n"
                f"http:\n  addr: {self.host}\n")
        if auth:
            with open(f"{self.dir}/htpasswd", "w") as f:
                f.write(HTPASSWD)
            text += f"auth:\n  htpasswd: {{realm: test, path: {self.dir}/htpasswd}}\n"
        with open(f"{self.dir}/config.yml", "w") as f:
            f.write(text)
        self.process = None
        self.start()

    def start(self):
        self.log = open(f"{self.dir}/log", "ab")
        self.process = subprocess.Popen(["docker-registry", "serve", f"{self.dir}/config.yml"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

        def up():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        check(poll(up, 20), f"the registry does not start: {self.said()[-500:]}")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.log.close()

    def said(self):
        with open(f"{self.dir}/log", errors="replace") as f:
            return f.read()

    def push(self, tag, name, *options):
        r = subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", *options, f"oci:{fixtures()}/layout:{tag}",
                            f"docker://{self.host}/{name}"], capture_output=True, text=True)
        check(r.returncode == 0, f"push: {r.stderr}")

    def blob_paths(self, size):
        found = []
        for folder, _, files in os.walk(f"{self.dir}/data/docker/registry/v2/blobs"):
            found += [os.path.join(folder, f) for f in files if os.path.getsize(os.path.join(folder, f)) >= size]
        return found


@contextlib.contextmanager
def registry(**how):
    r = Registry(**how)
    try:
        yield r
    finally:
        r.stop()
        shutil.rmtree(r.dir, ignore_errors=True)
