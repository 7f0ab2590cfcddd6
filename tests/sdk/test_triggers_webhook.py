"""Webhook triggers: signed calls fire and keep what they brought, others do nothing, repeated ones fire once."""

import hashlib
import hmac
import json
import uuid

import pytest
import requests
from covalent.triggers import BaseTrigger
from firing import fired, history, native, refused, status, trigger_of

pytestmark = pytest.mark.mends

SECRET = "a secret between the two of us"
BODY = json.dumps({"ref": "refs/heads/main", "ä": [1, 2.5, None]}).encode()


class WebhookTrigger(BaseTrigger):
    """A user's subclass is enough to reach a type that the SDK does not bring."""

    def __init__(self, secret=SECRET):
        super().__init__()
        self.secret = secret


def signature(body, secret=SECRET):
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def call(server, dispatch_id, body=BODY, signed=None, **headers):
    """A call as GitHub makes it; `signed=""` leaves the signature out."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = signature(body) if signed is None else signed
    if signed:
        sent["X-Hub-Signature-256"] = signed
    path = f"{server.url}/api/v3/triggers/{trigger_of(server, dispatch_id)['id']}/webhook"
    return requests.post(path, data=body, headers=sent, timeout=30)


def test_a_signed_call_fires_and_its_body_is_kept(server, firings):
    dispatch_id = firings.arm(WebhookTrigger())
    answer = call(server, dispatch_id)
    assert answer.ok, answer.text
    assert firings.wait(1)[0].dispatch_id == dispatch_id == answer.json()["dispatch_id"]
    [row] = history(server, dispatch_id, "fired")
    assert row["has_payload"] is True
    path = f"{server.url}/api/v3/triggers/{trigger_of(server, dispatch_id)['id']}"
    kept = requests.get(f"{path}/history/{row['event_key']}/payload", timeout=30)
    assert kept.content == BODY


@pytest.mark.parametrize("header", ["Idempotency_Key", "X_GitHub_Delivery"])
def test_a_call_that_is_repeated_fires_once(server, firings, header):
    dispatch_id = firings.arm(WebhookTrigger())
    key = str(uuid.uuid4())
    first, again = (call(server, dispatch_id, **{header: key}) for _ in range(2))
    assert first.ok and again.ok, (first.text, again.text)
    for field in ("event_key", "dispatch_id", "outcome"):
        assert first.json()[field] == again.json()[field]
    other = call(server, dispatch_id, **{header: str(uuid.uuid4())})
    assert other.ok and other.json()["event_key"] != first.json()["event_key"]
    firings.wait(2)
    assert len(fired(server, dispatch_id)) == 2


@pytest.mark.parametrize(
    "signed",
    ["", "sha256=", "sha256=" + "0" * 64, signature(BODY, "guessed"), signature(BODY + b" "), "sha1=00"],
    ids=["none", "empty", "zeros", "other secret", "other body", "other method"],
)
def test_a_call_that_proves_nothing_does_nothing(server, firings, signed):
    dispatch_id = firings.arm(WebhookTrigger())
    answer = call(server, dispatch_id, signed=signed)
    assert answer.status_code in (401, 403), answer.text
    assert SECRET not in answer.text and signature(BODY) not in answer.text
    assert status(server, dispatch_id) == "NEW_OBJECT"
    assert history(server, dispatch_id) == []


def test_the_secret_does_not_come_back(server, firings):
    dispatch_id = firings.arm(WebhookTrigger())
    shown = trigger_of(server, dispatch_id)
    assert shown["settings"]["secret"] == "***"
    assert SECRET not in json.dumps(native(server, "GET"))


@pytest.mark.parametrize("secret", ["", None, 7])
def test_a_webhook_without_a_secret_is_refused(server, firings, secret):
    assert "secret" in refused(WebhookTrigger(secret), firings.arm())


def test_a_body_that_is_too_large_is_refused(server, firings):
    dispatch_id = firings.arm(WebhookTrigger())
    answer = call(server, dispatch_id, body=b"x" * (1024 * 1024 + 1))
    assert answer.status_code == 413, answer.text
    assert history(server, dispatch_id) == []


def test_only_webhooks_are_called(server, firings):
    dispatch_id = firings.arm(BaseTrigger())
    answer = call(server, dispatch_id)
    assert 400 <= answer.status_code < 500, answer.text
    assert status(server, dispatch_id) == "NEW_OBJECT"
