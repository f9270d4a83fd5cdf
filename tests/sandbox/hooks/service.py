"""The service that a cluster carries in the sandbox: it answers, and it says in its log that it is alive.

`service.py DIRECTORY NODE EPOCH PORT`. Each line of DIRECTORY/service.jsonl holds CLOCK_BOOTTIME in
nanoseconds, node, epoch, process id and what happened: `alive` every 20 ms, `answered` for each request,
before the answer leaves. While DIRECTORY/sick exists it answers 500. Lines are written with one unbuffered
append each, so that a kill at any moment leaves only whole lines that were true.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TICK_SECONDS = 0.02


class Log:
    def __init__(self, path, node, epoch):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.about = {"node": node, "epoch": epoch, "pid": os.getpid()}

    def write(self, what, **more):
        line = {"at": time.clock_gettime_ns(time.CLOCK_BOOTTIME), **self.about, "what": what, **more}
        os.write(self.file, (json.dumps(line) + "\n").encode())


def handler(log, sick):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status = 500 if os.path.exists(sick) else 200
            body = json.dumps(log.about).encode()
            log.write("answered", path=self.path, status=status)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def leave_the_hook(pid_file):
    """First the file, then the session: whoever kills by the one or by the other finds this process."""
    with open(pid_file + ".part", "w", encoding="ascii") as out:
        out.write(f"{os.getpid()}\n")
    os.rename(pid_file + ".part", pid_file)
    os.setsid()


def main():
    directory, node, epoch, port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    leave_the_hook(os.path.join(directory, "service.pid"))
    log = Log(os.path.join(directory, "service.jsonl"), node, epoch)
    server = Server(("127.0.0.1", port), handler(log, os.path.join(directory, "sick")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        log.write("alive")
        time.sleep(TICK_SECONDS)


if __name__ == "__main__":
    main()
