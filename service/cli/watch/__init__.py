"""`leitstand watch`: a living view of a run in a terminal, or a line per log point without one.

Draws only what the API says, through `service.client`; never reads a store or a run directory.
"""
