"""The command line: arguments in, one library call, text out; see `main.py` for adding to it."""
