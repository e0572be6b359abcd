"""Writes `docs/openapi.json` from the routes: `python -m api.server.write_openapi`."""

import sys
import tempfile
from pathlib import Path

from api.openapi.document import build, encoded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def main() -> None:
    """Write `docs/openapi.json`."""
    from api.app import create_app
    from service.config.settings import RunConfig

    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(encoded(build(create_app(RunConfig(data_root=Path(folder))))), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is up to date\n")


if __name__ == "__main__":
    main()
