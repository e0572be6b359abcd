"""The HTTP process itself: gunicorn's configuration and worker, request buffering, access log, background threads.

Never knows what a route answers.
"""
