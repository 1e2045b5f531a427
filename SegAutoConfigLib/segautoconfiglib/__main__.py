"""``python -m segautoconfiglib COMMAND``, also installed as ``segautoconfig``."""

import signal
import sys


def run() -> int:
    """Run one command. Ctrl-C ends the program without a traceback also while modules are still being imported."""
    try:
        from segautoconfiglib.cli.main import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to tidy up


if __name__ == "__main__":
    sys.exit(run())
