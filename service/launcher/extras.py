"""The packages that another program needs, looked for before it starts: pip brings them by extras, or leaves them out.

Imports none of them.
"""

from importlib.util import find_spec

from service.errors import UserError

EXTRAS = {"train": ("torch", "numpy", "PIL", "av"), "api": ("flask", "gunicorn", "prometheus_client", "pydantic")}


def missing_packages(*extras: str) -> list[str]:
    """Return the modules of these extras that are not installed."""
    return [module for extra in extras for module in EXTRAS[extra] if not find_spec(module)]


def require_extra(extra: str) -> None:
    """Raise `UserError` unless the packages of an extra are installed."""
    if missing := missing_packages(extra):
        raise UserError(
            f"This needs packages that are not installed ({', '.join(missing)}): `pip install 'leitstand[{extra}]'` "
            "brings them."
        )
