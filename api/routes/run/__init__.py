"""Views of one run, mounted at `/` for the default run and below `/runs/<run>/`: route `/x` is `x.py`.

Never a rule or a query of their own.
"""
