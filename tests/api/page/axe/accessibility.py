"""axe-core, which finds what keeps people from using a page; it is run in the browser, whatever the page's CSP says."""

from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome

SOURCE = Path(__file__).with_name("axe.min.js")
SHA256 = "e9e5863c33a874f09bc01acd9234b7e3c871479f5eef8802fa582544465e6d01"
"""Of axe.min.js in the package axe-core 4.11.0 of npm, whose licence (MPL-2.0) is beside it."""
SERIOUS = frozenset({"serious", "critical"})
RUN = """
const done = arguments[arguments.length - 1];
const plain = ({id, impact, help, nodes}) => ({id, impact, help, nodes: nodes.map((node) => node.html)});
axe.run(document, {resultTypes: ["violations"]}).then(
  ({violations}) => done(violations.map(plain)),
  (error) => done([{id: "axe", impact: "critical", help: String(error), nodes: []}]));
"""


def serious_findings(browser: Chrome) -> list[Any]:
    """What axe finds in the page as it is now, of those findings that are serious or worse."""
    browser.execute_script(SOURCE.read_text(encoding="utf-8"))
    findings = browser.execute_async_script(RUN)
    return [finding for finding in findings if finding["impact"] in SERIOUS]
