"""``python -m segautoconfiglib COMMAND``."""

import sys

from segautoconfiglib.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
