"""The pages in a real browser, where there is one."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests import build
from tests.build import Collections
from tests.harness import PASSWORD, Person, Stoa
from tests.pages import chromium
from tests.pages.chromium import Chromium, Page

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium here")

SESSION = "JSON.parse(sessionStorage.getItem('stoa.session'))"
RESULT = ".result-window"
RUN = ".graphiql-execute-button"
RUN_ONE = f"{RUN}[aria-haspopup=menu]"  # as soon as the document was understood
STOP = f"{RUN}[aria-label^=Stop]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium.running() as running:
        yield running


@pytest.fixture
def page(browser: Chromium, stoa: Stoa) -> Iterator[Page]:
    """A page that asks nobody but us, and finds nothing to complain of."""
    port = urlsplit(stoa.base_url).port
    assert port is not None
    with browser.page(port) as page:
        yield page
        page.evaluate("0")  # whatever was still to be told
        assert (page.foreign, page.problems) == ([], [])


@pytest.fixture(scope="module")
def contacts(admin: Person) -> Collections:
    return build.app(admin, build.entity("contacts", build.field("name")), app_id="crm", version="1.0.0")


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.fill("#account [name=name]", name)
    page.fill("#account [name=password]", password)
    page.click("#account button")


def allow(page: Page, status: int) -> None:
    """The browser complains of answers of this status, as it should."""
    page.problems = [told for told in page.problems if f"the server responded with a status of {status}" not in told]


def run(page: Page, operation: str) -> None:
    page.click(RUN_ONE)
    page.click(f"[role=menuitem] >> {operation}")


def test_the_landing_page_says_whether_there_is_an_account(browser: Chromium, fresh: Stoa) -> None:
    port = urlsplit(fresh.base_url).port
    assert port is not None
    with browser.page(port) as page:
        page.go("/")
        assert page.text("#state.waiting").startswith("Nobody has an account yet.")
        page.click("#state a")
        assert page.text("main h1") == "Create the first account"
        sign_in(page, "ada", "weak")
        assert "at least 10 characters" in page.text("#account .refusal")
        sign_in(page, "ada")
        assert page.text("#account p >> Signed in") == "Signed in as ada"
        page.go("/")
        assert page.text("#state.ready") == "The server is ready."
        assert (page.foreign, page.problems) == ([], [])
    assert fresh.signed_in("ada").data("{ permissions { permissions } }") == {"permissions": {"permissions": ["*"]}}


def test_graphiql_asks_to_sign_in_before_it_asks_for_the_schema(page: Page, admin: Person) -> None:
    page.go("/graphql")
    assert page.text("main h1") == "Sign in to explore the schema"
    sign_in(page, "admin", "not this one")
    assert page.text("#account .refusal") == "invalid credentials"
    assert page.evaluate("document.querySelector('.graphiql-container')") is None


def test_graphiql_runs_queries_and_follows_changes(
    page: Page, admin: Person, contacts: Collections, stoa: Stoa
) -> None:
    page.go("/graphql")
    sign_in(page, "admin")
    run(page, "Welcome")
    page.text(f'{RESULT} >> "username": "admin"')
    page.text(f'{RESULT} >> "entities"')

    run(page, "Changes")
    while stoa.app.platform.runner.streams == 0:  # the test's time limit ends this
        page.see(f"!!document.querySelector('{STOP}')")
    contacts.create("contacts", name="Grace")
    assert '"operation": "CREATED"' in page.text(f'{RESULT} >> "name": "Grace"')
    contacts.create("contacts", name="Katherine")
    page.text(f'{RESULT} >> "name": "Katherine"')
    page.click(STOP)
    page.see(f"!document.querySelector('{STOP}')")


def test_the_schema_is_there_for_completion_and_documentation(page: Page, admin: Person) -> None:
    page.go("/graphql")
    sign_in(page, "admin")
    page.click("[aria-label='Show Documentation Explorer']")
    page.click(".graphiql-doc-explorer a >> Query")
    assert "How one may sign in here." in page.text(".graphiql-doc-explorer >> signInMode")


def test_each_app_has_a_page_of_its_own_schema(page: Page, admin: Person, contacts: Collections) -> None:
    contacts.create("contacts", name="Ada")
    page.go("/graphql/crm?query={contacts(first:1,where:{name:{eq:%22Ada%22}}){nodes{name}}}")
    sign_in(page, "admin")
    page.click(RUN)
    assert '"name": "Ada"' in page.text(f'{RESULT} >> "name"')
    page.click("[aria-label='Show Documentation Explorer']")
    page.click(".graphiql-doc-explorer a >> Query")
    page.text(".graphiql-doc-explorer a >> contacts")


def test_tokens_stay_in_the_tab_and_end_with_it(page: Page, admin: Person, stoa: Stoa) -> None:
    page.go("/graphql")
    sign_in(page, "admin")
    session = page.see(SESSION)
    kept = page.evaluate("JSON.stringify(localStorage) + document.cookie")
    assert session["accessToken"] not in kept
    assert session["refreshToken"] not in kept

    page.click("#account button")
    assert page.text("main h1") == "Sign in to explore the schema"
    assert page.evaluate("sessionStorage.length") == 0
    renewal = stoa.client().post("/api/v1/auth/refresh", json={"refreshToken": session["refreshToken"]})
    assert renewal.status_code == 401


def test_a_token_is_renewed_before_it_ends(page: Page, admin: Person) -> None:
    page.go("/graphql")
    sign_in(page, "admin")
    page.see(SESSION)
    page.evaluate(f"sessionStorage.setItem('stoa.session', JSON.stringify({{...{SESSION}, expiresAt: 0}}))")
    page.go("/graphql")
    run(page, "Welcome")
    page.text(f'{RESULT} >> "username": "admin"')
    assert page.evaluate(f"{SESSION}.expiresAt > Date.now()") is True


def test_a_session_that_ended_asks_to_sign_in_again(page: Page, admin: Person, stoa: Stoa) -> None:
    guest = stoa.person()
    page.go("/graphql")
    sign_in(page, guest.name)
    page.text(f"#account b >> {guest.name}")
    admin.data("mutation($id: UUID!) { deleteUser(id: $id) { id } }", id=guest.id)
    page.go("/graphql")
    assert page.text("#account .refusal") == "Your session has ended. Please sign in again."
    assert page.evaluate("sessionStorage.getItem('stoa.session')") is None
    allow(page, 401)


def test_public_fields_need_no_account(page: Page, admin: Person) -> None:
    page.go("/graphql")
    page.click("#anonymous")
    run(page, "Welcome")
    page.text(f"{RESULT} >> UNAUTHENTICATED")
    allow(page, 401)


def test_the_documentation_finds_opens_and_tries_operations(page: Page, admin: Person, contacts: Collections) -> None:
    made = contacts.create("contacts", name="Ada")
    page.go("/docs")
    sign_in(page, "admin")
    page.fill("#find", "records newest")
    page.click("#operations a >> /collections/{entity}")
    page.see("location.hash === '#openapi/rootcx.listRecords'")
    page.click(".opblock.is-open .try-out__btn")
    page.fill(".opblock.is-open tr[data-param-name=appId] input", "crm")
    page.fill(".opblock.is-open tr[data-param-name=entity] input", "contacts")
    page.click(".opblock.is-open .execute")
    assert page.text(".live-responses-table tbody .response-col_status").startswith("200")
    assert made["id"] in page.text(".live-responses-table tbody .response-col_description")


def test_the_documentation_of_one_system_can_be_chosen(page: Page, admin: Person) -> None:
    page.go("/docs#rootcx/listRoles")
    page.text(".opblock.is-open .opblock-summary-path >> /api/v1/roles")
    assert page.evaluate("document.getElementById('description').value") == "/openapi/rootcx.json"
    assert page.text("#about h1").startswith("RootCX")
    # Only what is asked for is open: of a description with hundreds of operations nobody would find it.
    assert page.evaluate("document.querySelectorAll('#operations details[open]').length") == 1
    assert page.evaluate("document.querySelectorAll('.opblock.is-open').length") == 1
