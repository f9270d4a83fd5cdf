"""The demote hook of a node in the sandbox: ends the service and returns once it is gone. `demote.py
DIRECTORY`.
"""

import os
import sys

from running import stop


def main():
    stop(os.path.join(sys.argv[1], "service.pid"))


if __name__ == "__main__":
    main()
