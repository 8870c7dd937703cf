"""Where the command line begins: `tinychat` and `python -m tinychat`."""

import sys


def main() -> int:
    """`cli.main.main`; Ctrl-C ends in a line and a code, also while that is being imported."""
    try:
        from tinychat.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
