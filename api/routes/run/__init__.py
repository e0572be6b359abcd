"""Views of one run, mounted at `/` for the default run and below `/runs/<run>/`: route `/x` is `x.py`.

They never contain rules or queries of their own.
"""
