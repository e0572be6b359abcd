"""`leitstand stats`: saved records of a server, or of run directories without one.

Never reads a record's file itself: service/run/records does.
"""
