"""`python -m tinychat` is the command line."""

import sys

from tinychat.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
