"""Serves moto on a free port of the loopback and writes the port to the file named as the only argument."""

import os
import signal
import sys

from moto.server import ThreadedMotoServer


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    # Renamed into place, so that a reader never sees half a number.
    with open(sys.argv[1] + ".part", "w", encoding="ascii") as out:
        out.write(str(port))
    os.rename(sys.argv[1] + ".part", sys.argv[1])
    signal.pause()


if __name__ == "__main__":
    main()
