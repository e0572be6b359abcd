"""Keys of signatures: what a secret of the settings stands for, as Standard Webhooks 1.0.0 describes it."""

import base64

from service.errors import SettingError

KEY_PREFIX = "whsec_"
"""What a secret begins with that is the base64 of its key; any other secret is the key itself, byte for byte."""
KEY_BYTES = 24, 64
"""Shortest and longest key of such a secret."""


def signing_key(secret: str) -> bytes:
    """Return the key that a secret stands for; raises `ValueError` if what follows `whsec_` is not base64."""
    if not secret.startswith(KEY_PREFIX):
        return secret.encode(errors="surrogateescape")  # the exact bytes of the environment, UTF-8 or not
    encoded = secret.removeprefix(KEY_PREFIX)
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)


def checked_key(name: str, secret: str) -> bytes:
    """Return the key of the setting `name`; raises `SettingError` for a `whsec_` secret that breaks the standard."""
    try:
        key = signing_key(secret)
    except ValueError:
        raise SettingError(
            f"{name} begins with {KEY_PREFIX}, but what follows is not base64; copy it again, or "
            f"choose a secret that begins otherwise."
        ) from None
    least, most = KEY_BYTES
    if secret.startswith(KEY_PREFIX) and not least <= len(key) <= most:
        raise SettingError(
            f"{name} stands for a key of {len(key)} bytes, but Standard Webhooks asks for {least} to {most}: "
            f'make one with `echo "{KEY_PREFIX}$(openssl rand -base64 32)"`.'
        )
    return key
