#!/usr/bin/python3
"""Limits on a host with cgroup version 2, in a machine of its own: the tests are in tests/guest/cgroup-v2.sh."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import guest  # noqa: E402

SECONDS = 180  # quiet it takes a third of this; a loaded machine may need more

if __name__ == "__main__":
    sys.exit(guest.run("cgroup v2 guest", "cgroup-v2.sh", SECONDS, ("crun",)))
