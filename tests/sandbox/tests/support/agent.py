"""Stands in for an agent where only the sandbox is tested: promotes once at the epoch it is given and waits.

`agent.py --config FILE`. SIGTERM runs the demote hook and ends.
"""

import os
import signal
import subprocess
import sys
import tomllib


def main():
    with open(sys.argv[2], "rb") as text:
        config = tomllib.load(text)
    (cluster,) = config["cluster"].values()
    environment = {**os.environ, "BATON_EPOCH": os.environ.get("EPOCH", "1")}

    def hook(name):
        subprocess.run(cluster["hooks"][name]["command"], env=environment, check=True)

    def end(*_):
        hook("demote")
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print({name: value for name, value in os.environ.items() if name.startswith(("AWS", "HOME"))}, flush=True)
    hook("promote")
    print("promoted", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
