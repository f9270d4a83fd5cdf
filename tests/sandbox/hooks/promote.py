"""The promote hook of a node in the sandbox: starts the service and returns once it answers.

`promote.py DIRECTORY NODE PORT`, with what the agent tells every hook in the environment. The service
begins in the hook's process group and leaves it only once DIRECTORY/service.pid names it, so that at no
moment it can escape the dead-man, which kills both.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

from running import stop

LIMIT_SECONDS = 8


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1):
            return True
    except urllib.error.HTTPError:
        # It is there and sick; that is for the check to find, not for the hook.
        return True
    except OSError:
        return False


def main():
    directory, node, port = sys.argv[1:4]
    pid_file = os.path.join(directory, "service.pid")
    # A service of an earlier epoch must be gone before this one answers in its place.
    stop(pid_file)
    service = os.path.join(os.path.dirname(os.path.abspath(__file__)), "service.py")
    with open(os.path.join(directory, "service.err"), "ab") as errors:
        started = subprocess.Popen(
            [sys.executable, "-I", service, directory, node, os.environ["BATON_EPOCH"], port],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
    end = time.monotonic() + LIMIT_SECONDS
    while not answers(port):
        if started.poll() is not None:
            sys.exit(f"the service ended with status {started.returncode}; see {directory}/service.err")
        if time.monotonic() > end:
            sys.exit(f"the service does not answer after {LIMIT_SECONDS} s")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
