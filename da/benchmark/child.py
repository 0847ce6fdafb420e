"""`da` as a child of `da benchmark`: it ends when its parent does, also one that was killed.

The parent holds the other end of standard input. When that closes, the whole session of the child goes, workers too.
"""

import os
import signal
import sys
from threading import Thread


def end_with_parent() -> None:
    """Kill this session as soon as standard input ends."""

    def wait() -> None:
        # Not sys.stdin: its lock would be held when the interpreter shuts down.
        while os.read(0, 1024):
            pass
        os.killpg(0, signal.SIGKILL)

    Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    from da.cli import main

    sys.exit(main())
