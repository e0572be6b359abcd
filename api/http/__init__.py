"""What every route is made of: declared parameters, pages, conditional requests, problems, authentication, rate limits.

Never a run and never a store query.
"""
