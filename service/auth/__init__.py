"""Tokens with scopes, and the hosts and addresses that a server may answer.

Never a request: `api/http/auth.py` applies them.
"""
