"""What scripts/gpu_check.sh runs: one module for each part that talks to the card itself, and what
starts them all, keeps to the time and reports.
"""
