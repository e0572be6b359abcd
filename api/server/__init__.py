"""The HTTP process: gunicorn's configuration and worker, request buffering, access log and background threads.

It never knows what a route answers.
"""
