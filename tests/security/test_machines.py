#!/usr/bin/python3
"""The sandbox around a virtual machine, as who has escaped into it finds it: the emulator is a fake (tests/lib/fake_vmm.py), and what it plays as the guest are commands
out there, beside it. And /dev/kvm: whose it is."""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from fake_vmm import Placed  # noqa: E402
from harness import IS_ROOT, check, check_equal, main, skip, test  # noqa: E402
from one_image import Registry  # noqa: E402
from service import Service  # noqa: E402

SPEC = {"runtimeClass": "firecracker", "resourceLimits": {"memoryBytes": 192 << 20}}


def needs():
    if not IS_ROOT:
        skip("the service is started as root")
    if not os.path.exists("/dev/kvm"):
        skip("no /dev/kvm")
    if not any(name.endswith("-cloud-amd64") for name in os.listdir("/boot")):
        skip("no kernel for guests (package linux-image-cloud-amd64)")


@test
def who_escapes_is_a_command_of_a_native_sandbox():
    needs()
    with Placed() as fake, Service(config=fake.config("firecracker")) as s:
        sb = s.spawn(**SPEC)
        seen = s.exec(sb, "sh", "-c", "cat /proc/self/status; cat /proc/net/dev | grep -c :; ls /.root /boot; mknod /tmp/kvm c 10 232; echo x > /usr/x; echo end")
        text = seen["stdout"].decode()
        for line in ("CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "\n1\n", "end\n"):
            check(line in text, f"{line!r} is not in {seen}")
        check(b"mknod" in seen["stderr"] and b"Read-only" in seen["stderr"], seen)
        native = s.spawn(runtimeClass="native")
        script = "test -c /dev/kvm && echo device; mknod /tmp/kvm c 10 232 && echo made; (echo x > /dev/kvm) && echo opened; echo end"
        check_equal(s.exec(native, "sh", "-c", script)["stdout"], b"end\n", "a native sandbox beside it has no KVM")


@test
def an_image_beside_the_root_cannot_be_written():
    needs()
    if not shutil.which("busybox") or not shutil.which("skopeo"):
        skip("no busybox or no skopeo (packages busybox-static, skopeo)")
    registry = Registry(shutil.which("busybox"), files={"srv/suid": (b"#!/bin/sh\n", 0o4755, 0)})
    try:
        with Placed() as fake, Service(config=fake.config("firecracker")) as s:
            sb = s.spawn(**SPEC, image=registry.ref)
            seen = s.exec(sb, "sh", "-c", "id -u; ls /.root /.root/srv; touch /.root/x; chmod 777 /.root/hello; mount -o remount,rw /.root; grep ' /.root ' /proc/mounts")
            lines = seen["stdout"].decode().split("\n")
            check(lines[0] == "0" and {"hello", "srv", "suid"} <= set(lines), seen)
            options = lines[-2].split()[3].split(",")
            check({"ro", "nosuid", "nodev"} <= set(options), lines)
            check_equal(seen["stderr"].count(b"Read-only"), 2, seen)
    finally:
        registry.close()


if __name__ == "__main__":
    main()
