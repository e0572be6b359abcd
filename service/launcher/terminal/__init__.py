"""The terminal of `leitstand up`: its keys, its status line, and text that it can show.

Never starts or ends a process: keys become commands of the run.
"""
