import logging
from collections.abc import Iterator

import pytest

from app.scoring import figures


@pytest.fixture(autouse=True)
def _keep_log_handlers() -> Iterator[None]:
    """The command line sets up logging to a terminal that is gone after the test."""
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def drawn() -> None:
    """For tests that look at figures; the others go without, which saves a second each."""


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(figures, "available", lambda: False)
