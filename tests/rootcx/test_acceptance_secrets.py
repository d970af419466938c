"""What RootCX's clients rely on of the vault, by the numbers of its reference's list."""

from tests import build
from tests.harness import Person, Stoa
from tests.rootcx.test_acceptance import refused

PLATFORM = "/api/v1/platform/secrets"


def test_40_the_lists_have_sorted_names_only(admin: Person) -> None:
    app = "/api/v1/apps/atelier/secrets"
    assert admin.client.get(app).json() == []
    for key in ("SMTP_PASS", "CARRIER_KEY", "carrier"):
        answer = admin.client.post(app, json={"key": key, "value": f"value of {key}"})
        assert (answer.status_code, answer.json()) == (200, {"message": f"secret '{key}' set"})
    listed = admin.client.get(app)
    assert listed.json() == ["CARRIER_KEY", "SMTP_PASS", "carrier"]
    assert admin.client.get("/api/v1/apps/other/secrets").json() == []


def test_40_an_unknown_one_is_404_and_setting_twice_keeps_one_entry(admin: Person) -> None:
    app = "/api/v1/apps/packing/secrets"
    refused(admin.client.delete(f"{app}/NONE"), 404, "NONE")
    for value in ("first", "second"):
        assert admin.client.post(app, json={"key": "KEY", "value": value}).status_code == 200
    assert admin.client.get(app).json() == ["KEY"]
    answer = admin.client.delete(f"{app}/KEY")
    assert (answer.status_code, answer.json()) == (200, {"message": "secret 'KEY' deleted"})
    assert admin.client.get(app).json() == []
    refused(admin.client.delete(f"{app}/KEY"), 404)


def test_40_platform_secrets_report_the_workers(admin: Person) -> None:
    refused(admin.client.post(PLATFORM, json={"key": "no-dash", "value": "x"}), 400, "key")
    assert admin.client.get(PLATFORM).json() == []
    answer = admin.client.post(PLATFORM, json={"key": "LLM_KEY", "value": "sk-1"})
    assert answer.json() == {"message": "platform secret 'LLM_KEY' set", "workers_restarted": 0}
    admin.client.post(PLATFORM, json={"key": "A", "value": "1"})
    assert admin.client.get(PLATFORM).json() == ["A", "LLM_KEY"]
    assert admin.client.get(f"{PLATFORM}/env").json() == {"A": "1", "LLM_KEY": "sk-1"}
    answer = admin.client.delete(f"{PLATFORM}/LLM_KEY")
    assert answer.json() == {"message": "platform secret 'LLM_KEY' deleted", "workers_restarted": 0}
    refused(admin.client.delete(f"{PLATFORM}/LLM_KEY"), 404)


def test_missing_fields_are_400_and_others_may_not(admin: Person, stoa: Stoa) -> None:
    for path in ("/api/v1/apps/atelier/secrets", PLATFORM):
        for body in ({"key": "KEY"}, {"value": "x"}, {"key": "", "value": "x"}, {"key": 1, "value": "x"}):
            refused(admin.client.post(path, json=body), 400)
    guest = stoa.person()
    for path in ("/api/v1/apps/atelier/secrets", PLATFORM, f"{PLATFORM}/env"):
        refused(guest.client.get(path), 403, "admin:secrets.manage")
        refused(stoa.client().get(path), 401)
    for path in ("/api/v1/apps/atelier/secrets", PLATFORM):
        refused(guest.client.post(path, json={"key": "KEY", "value": "x"}), 403)
        refused(guest.client.delete(f"{path}/KEY"), 403)
    keeper = build.reader(stoa, admin, "admin:secrets.manage")
    assert keeper.client.post(PLATFORM, json={"key": "KEPT", "value": "x"}).status_code == 200


def test_57_an_uninstalled_app_has_no_secrets(admin: Person) -> None:
    app = build.app(admin, build.entity("parcels", build.field("code")))
    path = f"/api/v1/apps/{app.app_id}/secrets"
    assert admin.client.post(path, json={"key": "KEY", "value": "x"}).status_code == 200
    assert admin.client.delete(f"/api/v1/apps/{app.app_id}").status_code == 200
    assert admin.client.get(path).json() == []
