"""`leitstand up` and `leitstand train`: child processes, their supervision, keyboard, signals and ports.

Never imports the programs that it starts.
"""
