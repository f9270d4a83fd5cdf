"""What both hooks know of the running service."""

import os
import signal
import sys
import time

LIMIT_SECONDS = 4


def group(pid_file):
    """The process group that the file names, or None where no service was started."""
    try:
        with open(pid_file, encoding="ascii") as text:
            return int(text.read())
    except FileNotFoundError:
        return None


def serves(process_group):
    """Whether a process of the group is left. A zombie serves nobody and is left to whoever inherited it."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    state, _, found = stat.read().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(found) == process_group and state not in "ZX":
                return True
    return False


def stop(pid_file):
    """Kills the service, waits until it is gone, and removes the file."""
    found = group(pid_file)
    if found is None:
        return
    end = time.monotonic() + LIMIT_SECONDS
    while serves(found):
        try:
            os.killpg(found, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if time.monotonic() > end:
            sys.exit(f"process group {found} outlives SIGKILL")
        time.sleep(0.005)
    try:
        os.remove(pid_file)
    except FileNotFoundError:
        pass
