"""Starts ministack on a free port, with the gaps closed that would hide faults of Baton; see gaps/.

`launcher.py PORT_FILE`: the port is written there. Everything that is replaced is checked first, so that
another version of ministack is refused with a sentence and never runs with half of it.
"""

import os
import socket
import sys

from gaps import delivery, iam, names, network


def reserve_port():
    """A port that is ours from here on. The socket is bound and does not listen, which keeps others from the
    port and lets ministack, which sets SO_REUSEADDR as well, bind it too.
    """
    reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation


def main():
    names.check_version()
    port_file = sys.argv.pop(1)
    reservation = reserve_port()
    port = reservation.getsockname()[1]
    # ministack reads its settings when it is imported.
    os.environ["GATEWAY_PORT"] = str(port)
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    iam.install()
    delivery.install()
    network.install()
    with open(port_file + ".part", "w", encoding="ascii") as out:
        out.write(str(port))
    os.rename(port_file + ".part", port_file)
    from ministack import app

    app.main()


if __name__ == "__main__":
    main()
