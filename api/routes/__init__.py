"""Views: read parameters, call, answer. Route `/x` of the whole server is `x.py` here; routes of a run are in `run/`.

Never a rule or a query of their own.
"""
