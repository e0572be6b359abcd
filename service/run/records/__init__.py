"""Reading and keeping saved records: in the order of their steps, whoever wrote them, checked, as rows and frames.

Never asks the API or the store.
"""
