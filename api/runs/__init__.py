"""Access to runs: the registry of all runs, their directories, and the context of one run during a request.

It never declares a route.
"""
