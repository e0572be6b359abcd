"""The OpenAPI document, its schemas and its HTML page, made from the declarations beside the routes.

Never lists a route by hand.
"""
