"""Settings: what the environment may say, and what is said back when it says something else."""

from pathlib import Path

import pytest

from infra.settings import Settings, SettingsError, listing

KEY = "ab" * 32


def settings(**environ: str) -> Settings:
    return Settings.from_env(environ)


def test_an_empty_environment_gives_the_documented_defaults(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = settings()
    assert (found.host, found.port, found.public_url) == ("127.0.0.1", 9100, "http://127.0.0.1:9100")
    assert found.data_dir == tmp_path / ".stoa"
    assert (found.database_url, found.valkey_url, found.keys) == (None, None, ())
    assert (found.workers, found.database_connections, found.body_bytes_max) == (1, 10, 52428800)
    assert (found.password_login, found.cors_origins, found.log_level, found.log_format) == (True, (), "info", "auto")


def test_other_programs_variables_and_empty_ones_are_left_alone():
    assert settings(PATH="/bin", STOAT_X="1", STOA_PORT="", STOA_DATABASE_URL=" ").port == 9100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STOA_HOST", "http://here"),
        ("STOA_PORT", "abc"),
        ("STOA_PORT", "65536"),
        ("STOA_PORT", "-1"),
        ("STOA_PORT", "٩١٠٠"),
        ("STOA_DATABASE_URL", "mysql://host/db"),
        ("STOA_DATABASE_URL", "postgresql://host:port/db"),
        ("STOA_DATABASE_URL", "postgresql:"),
        ("STOA_VALKEY_URL", "http://host"),
        ("STOA_VALKEY_URL", "unix://"),
        ("STOA_SECRET_KEY", "too short"),
        ("STOA_SECRET_KEY", "a:abcd"),
        ("STOA_SECRET_KEY", f"a:{KEY},a:{KEY}"),
        ("STOA_PUBLIC_URL", "example.com"),
        ("STOA_PUBLIC_URL", "https://example.com/?a=1"),
        ("STOA_CORS_ORIGINS", "https://good.example, bad"),
        ("STOA_LOG_LEVEL", "loud"),
        ("STOA_LOG_FORMAT", "xml"),
        ("STOA_WORKERS", "0"),
        ("STOA_PASSWORD_LOGIN", "maybe"),
        ("STOA_BODY_BYTES_MAX", "50 MB"),
        ("STOA_BODY_BYTES_MAX", "0"),
        ("STOA_DATABASE_CONNECTIONS", "1.5"),
    ],
)
def test_a_broken_value_names_its_variable_and_what_is_allowed(name, value):
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({name: value})
    message = str(refusal.value)
    assert message.startswith(name)
    assert "allowed: " in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["STOA_DATABASE_URL", "STOA_VALKEY_URL", "STOA_SECRET_KEY"])
def test_a_broken_secret_is_not_repeated(name):
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({name: "hunter2"})
    assert "hunter2" not in str(refusal.value)


def test_an_unknown_variable_is_refused_with_the_nearest_name():
    with pytest.raises(SettingsError, match=r"STOA_PROT is not a setting; did you mean STOA_PORT\?"):
        settings(STOA_PROT="1")


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("50MiB", 50 * 2**20), ("512 KiB", 512 * 2**10), ("2gib", 2**31)])
def test_sizes(text, size):
    assert settings(STOA_BODY_BYTES_MAX=text).body_bytes_max == size


def test_urls_have_one_spelling_inside():
    found = settings(
        STOA_DATABASE_URL="postgres://u:p@h:1/d?sslmode=require",
        STOA_VALKEY_URL="valkeys://h:2/3",
        STOA_PUBLIC_URL="https://example.com/base/",
        STOA_CORS_ORIGINS="https://A.example, http://localhost:3000/",
    )
    assert found.database_url == "postgresql://u:p@h:1/d?sslmode=require"
    assert found.valkey_url == "rediss://h:2/3"
    assert found.public_url == "https://example.com/base"
    assert found.cors_origins == ("https://a.example", "http://localhost:3000")


def test_the_public_url_follows_the_port_unless_it_is_given():
    assert settings(STOA_PORT="0").listening_on(4711).public_url == "http://127.0.0.1:4711"
    assert settings(STOA_HOST="0.0.0.0", STOA_PORT="0").listening_on(4711).public_url == "http://localhost:4711"
    assert settings(STOA_HOST="::1").public_url == "http://[::1]:9100"
    given = settings(STOA_PORT="0", STOA_PUBLIC_URL="https://example.com")
    assert given.listening_on(4711).public_url == "https://example.com"


def test_a_childs_environment_gives_the_same_settings():
    found = settings(
        STOA_PORT="1234",
        STOA_DATA_DIR="relative",
        STOA_CORS_ORIGINS="https://a.example,https://b.example",
        STOA_PASSWORD_LOGIN="off",
        STOA_DATABASE_URL="postgresql://u:p@h/d",
        STOA_UPLOAD_BYTES_MAX="2GiB",
        STOA_S3_BUCKET="files",
        STOA_S3_ENDPOINT="http://minio:9000",
        STOA_S3_REDIRECT="on",
    )
    assert Settings.from_env(found.environment()) == found
    assert found.data_dir == Path.cwd() / "relative"


def test_secrets_show_nowhere():
    found = settings(
        STOA_DATABASE_URL="postgresql://u:hunter2@h/d",
        STOA_VALKEY_URL="redis://:hunter2@h",
        STOA_SECRET_KEY=f"one:{KEY}",
        STOA_S3_ACCESS_KEY="hunter2",
        STOA_S3_SECRET_KEY="a/b:hunter2",
    )
    shown = repr(found) + repr(found.keys) + repr(listing(found))
    assert "hunter2" not in shown
    assert KEY not in shown
    assert ("STOA_DATABASE_URL", "postgresql://u:***@h/d") in [row[:2] for row in listing(found)]
