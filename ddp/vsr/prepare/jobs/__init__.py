"""The work of a preparation: shared among processes, kept in finished parts, and shown as it goes on.

A part depends on its input and the settings only, so that neither the number of processes nor an interruption changes
a byte of the set; never decides what is cut.
"""
