"""Tokens with scopes, and the host names and addresses under which a server may answer.

Never reads a request: `api/http/auth.py` applies the rules.
"""
