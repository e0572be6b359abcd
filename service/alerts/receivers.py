"""Which receivers the settings name for alerts, and under which ids the store knows them."""

import hashlib

from service.config.settings import RunConfig


def notify_addresses(config: RunConfig) -> list[str]:
    """Return the addresses in NOTIFY_URLS, which spaces separate."""
    return config.notify_urls.split()


def receiver_id(address: str) -> str:
    """Return the id of a receiver in the store, which does not show the address: it may hold a secret."""
    return hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()[:16]


def receiver_ids(config: RunConfig) -> tuple[str, ...]:
    """Return the ids of all receivers that the settings name: the webhook and those in NOTIFY_URLS."""
    return tuple(receiver_id(address) for address in (config.webhook_url, *notify_addresses(config)) if address)
