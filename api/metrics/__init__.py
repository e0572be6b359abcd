"""One Prometheus scrape: the catalog of metrics, the values of one scrape, the collector.

Never asks the trainer: a scrape reads the store only.
"""
