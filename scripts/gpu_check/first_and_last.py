"""A plugin of pytest that keeps the first and the last case of every test function: enough for a
tool under which each takes a hundred times as long.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After -k and -m have chosen."""
    of_function: dict[str, list[pytest.Item]] = {}
    for item in items:
        of_function.setdefault(item.nodeid.split("[")[0], []).append(item)
    kept = {id(item) for cases in of_function.values() for item in (cases[0], cases[-1])}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]
