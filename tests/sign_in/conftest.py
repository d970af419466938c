"""A provider for the tests of one module, known to its server as `acme`."""

from collections.abc import Iterator

import pytest

from tests.harness import Person, Stoa
from tests.sign_in.browser import Browser, saved
from tests.sign_in.provider import Provider, providing


@pytest.fixture(scope="module")
def module_provider() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def provider(module_provider: Provider, admin: Person) -> Provider:
    """The provider as it is by default, with keys that the server may look at anew, and no sign-in under way."""
    fresh = Provider(module_provider.url)
    vars(module_provider).update(vars(fresh))
    saved(admin, module_provider)
    return module_provider


@pytest.fixture(autouse=True)
def _forgetful(stoa: Stoa) -> Iterator[None]:
    """What the server has learnt of providers it forgets after each test: they change between two tests."""
    yield
    stoa.app.platform.ports.open_id._providers.clear()


@pytest.fixture
def browser(stoa: Stoa) -> Browser:
    return Browser(stoa)
