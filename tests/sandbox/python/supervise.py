"""Owns a set of processes and lets none of them outlive whoever started it.

The starter keeps the write end of our standard input. However it ends, even by SIGKILL, the kernel closes
that end, and at end of file everything below us is killed. Children that leave their process group or session
do not escape: we are their subreaper, so orphans become our children, and we look for descendants until there
are none.

One JSON request per line, one JSON reply per line:

    {"do":"spawn","argv":[…],"env":{…},"log":"…","directory":"…"}   -> {"pid":N}
    {"do":"poll","pid":N}                                            -> {"running":true} | {"status":N}
    {"do":"signal","pid":N,"signal":N}                               -> {"sent":true|false}
    {"do":"remove","directory":"…"}                                  -> {"ok":true}
    {"do":"kill"}                                                    -> {"killed":N}

A directory that was named by `remove` goes once all is dead. Standard library only: this also runs where
there is no virtual environment yet.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
# Only directories that carry this file are ever removed.
MARKER = ".baton-sandbox"


def become_subreaper():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the subreaper of the processes to be started")


def parents():
    """Every process of the machine with its parent; zombies are left out, since they need no killing."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                # The command's name may hold spaces and parentheses, so fields are counted from the last `)`.
                state, parent = stat.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in "ZX":
            found[int(entry)] = int(parent)
    return found


def descendants():
    table = parents()
    below, frontier = set(), {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in table.items() if parent in frontier} - below
        below |= frontier
    return below


class Supervisor:
    def __init__(self):
        self.children = {}
        self.statuses = {}
        self.remove = None

    def reap(self):
        """Collects whatever has ended, ours and the orphans that became ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                self.statuses[pid] = os.waitstatus_to_exitcode(status)

    def kill_everything(self):
        killed = set()
        while True:
            below = descendants()
            if not below:
                self.reap()
                return len(killed)
            for pid in below:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
                except ProcessLookupError:
                    pass
            self.reap()

    def spawn(self, request):
        with open(request["log"], "ab") as log:
            child = subprocess.Popen(
                request["argv"],
                env=request["env"],
                cwd=request.get("directory"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # `Popen` is kept so that its destructor does not reap behind our back.
        self.children[child.pid] = child
        return {"pid": child.pid}

    def poll(self, request):
        self.reap()
        pid = request["pid"]
        return {"status": self.statuses[pid]} if pid in self.statuses else {"running": pid in self.children}

    def signal(self, request):
        self.reap()
        pid = request["pid"]
        # A pid we have not reaped cannot have been given to another process, so the signal cannot go astray.
        alive = pid in self.children and pid not in self.statuses
        if alive:
            os.kill(pid, request["signal"])
        return {"sent": alive}

    def answer(self, request):
        match request["do"]:
            case "spawn":
                return self.spawn(request)
            case "poll":
                return self.poll(request)
            case "signal":
                return self.signal(request)
            case "remove":
                self.remove = request["directory"]
                return {"ok": True}
            case "kill":
                return {"killed": self.kill_everything()}
        return {"error": f"unknown request `{request['do']}`"}

    def end(self):
        self.kill_everything()
        if self.remove and os.path.exists(os.path.join(self.remove, MARKER)):
            # When our starter is killed, other supervisors end with us, and what they own may still write for
            # a moment.
            for _ in range(100):
                shutil.rmtree(self.remove, ignore_errors=True)
                if not os.path.exists(self.remove):
                    break
                time.sleep(0.05)


def main():
    become_subreaper()
    # Interrupts from the terminal are for our starter; we end when it does. A handler, because children would
    # inherit an ignored signal and then not end on SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    supervisor = Supervisor()
    try:
        for line in sys.stdin:
            try:
                reply = supervisor.answer(json.loads(line))
            except (OSError, KeyError, ValueError) as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(reply), flush=True)
    except OSError:
        pass
    finally:
        supervisor.end()


if __name__ == "__main__":
    main()
