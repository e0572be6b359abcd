"""The dashboard for everybody: what axe finds in it, dark and light, on a phone and on a desk, with open dialogs."""

from collections.abc import Callable

import pytest
from selenium.webdriver import Chrome

from service.store.store import Store
from tests.api.harness.browsing import text_of
from tests.api.harness.dashboard import is_shown, texts_of
from tests.api.page.axe import accessibility

Eventually = Callable[..., None]
OPEN = "document.getElementById(arguments[0]).showModal()"
DIALOGS = ("help-dialog", "stop-dialog", "table-dialog", "checkpoints-dialog", "compare-dialog", "runs-dialog")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(
    page: Chrome, living: Store, width: int, scheme: str, eventually: Eventually
) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for card in ("series-card", "layers-card", "log-card"):
            page.execute_script("document.getElementById(arguments[0]).open = true", card)
        eventually(lambda: texts_of(page, "#series-list span"), what="the list of values")
        assert accessibility.serious_findings(page) == []
        page.execute_script("document.getElementById('change').click()")
        eventually(lambda: is_shown(page, ".setting"), what="the settings")
        assert accessibility.serious_findings(page) == []
        page.execute_script("document.getElementById('settings-dialog').close()")
        for dialog in DIALOGS:
            page.execute_script(OPEN, dialog)
            assert text_of(page, f"#{dialog} h2")
            assert accessibility.serious_findings(page) == [], dialog
            page.execute_script("document.getElementById(arguments[0]).close()", dialog)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
