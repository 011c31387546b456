"""Filesystems that are full."""
import contextlib
import os
import shutil
import subprocess
import tempfile

from harness import skip

MIB = 1 << 20


@contextlib.contextmanager
def small_disk(mib):
    """A filesystem of its own."""
    top = tempfile.mkdtemp(prefix="creto-service-disk-", dir="/var/tmp")
    os.chmod(top, 0o711)
    image, mount = os.path.join(top, "image"), os.path.join(top, "mnt")
    os.mkdir(mount)
    with open(image, "wb") as f:
        f.truncate(mib << 20)
    try:
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", image], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        r = subprocess.run(["mount", "-o", "loop", image, mount], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if r.returncode != 0:
            skip(f"no loop mount here: {r.stderr.strip()}")
        try:
            yield mount
        finally:
            subprocess.run(["umount", mount], check=True, stdin=subprocess.DEVNULL)
    finally:
        shutil.rmtree(top, ignore_errors=True)


def fill(path):
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as f:
        while True:
            f.write(b"x" * MIB)
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as f:
        while True:
            f.write(b"x" * 1024)
