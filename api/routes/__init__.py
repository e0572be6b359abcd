"""Views: read parameters, call, answer. Server-wide route `/x` is `x.py` here; routes of a run are in `run/`.

They never contain rules or queries of their own.
"""
