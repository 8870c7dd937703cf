"""The text that the demo model learns from: hand-written seeds, widened by a small grammar.

Each world file holds templates and the scenes that use them; `dialogue.py` joins scenes into
conversations. Templates that start with `~` are held out: training never sees them, and the
held-out set is made of nothing else. `exam.py` is apart from all that.
"""
