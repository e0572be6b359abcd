"""The OpenAPI document, its schemas and its HTML page, generated from the declarations beside the routes.

It never lists a route by hand.
"""
