"""Where secrets come from."""

import pytest

from vlad.errors import InputError
from vlad.runs.events.mqtt import read_login
from vlad.runs.events.secret import read_secret


def test_a_secret_is_in_a_file_or_the_environment(tmp_path, monkeypatch):
    def secret(file):
        return read_secret(file, "VLAD_WEBHOOK_SECRET", "webhook")

    monkeypatch.delenv("VLAD_WEBHOOK_SECRET", raising=False)
    assert secret(None) is None
    monkeypatch.setenv("VLAD_WEBHOOK_SECRET", "one")
    (tmp_path / "secret").write_text("two\n")
    assert secret(None) == b"one"
    assert secret(tmp_path / "secret") == b"two"
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(InputError, match="holds no secret for the webhook"):
        secret(tmp_path / "secret")
    with pytest.raises(InputError, match="cannot be read"):
        secret(tmp_path / "none")
    monkeypatch.setenv("VLAD_WEBHOOK_SECRET", "")
    with pytest.raises(InputError, match="VLAD_WEBHOOK_SECRET holds no secret"):
        secret(None)


def test_a_login_is_a_user_and_a_password(tmp_path, monkeypatch):
    monkeypatch.delenv("VLAD_MQTT_LOGIN", raising=False)
    assert read_login(None) is None
    monkeypatch.setenv("VLAD_MQTT_LOGIN", "me")
    assert read_login(None) == ("me", None)
    (tmp_path / "login").write_text("me:hunter:2\n")
    assert read_login(tmp_path / "login") == ("me", "hunter:2")
