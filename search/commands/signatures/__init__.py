"""What each command takes: its options and their help. It calls what does the work, and prints what came of it.

Nothing is imported at the top of these files that needs torch: it takes seconds, and `--help` must not.
"""
