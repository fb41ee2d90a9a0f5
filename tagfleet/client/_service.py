"""Operations on the service itself: taggers, fleet, keys and webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tagfleet.client._calls import Calls


class Service(Calls):
    """Operations on taggers, fleet, keys and webhooks.

    If the service asks for keys, then the operations on keys, webhooks and the fleet need the scope `operate`.
    """

    def models(self) -> list[dict[str, Any]]:
        """Return the pools: the tagger each wants, the one it serves, and why they differ."""
        return self._parse(lambda data: list(data["models"]), self._transport.json("GET", "/models"))

    def fleet(self) -> dict[str, Any]:
        """Return queues, workers, pools and the controller's last decisions."""
        return self._parse(dict, self._transport.json("GET", "/fleet"))

    def set_cap(self, max_workers: int | None) -> dict[str, Any]:
        """Set the maximum number of workers of all pools; 0 drains all, None returns to the settings.

        Return `cap`, which applies from the controller's next tick on, and `cap_source`.
        """
        return self._parse(dict, self._transport.json("PUT", "/fleet/cap", json={"max_workers": max_workers}))

    def drain_worker(self, id: str) -> None:
        """Ask a worker to finish what it holds and end. Raises Missing if no such worker is alive."""
        self._transport.send("POST", f"/fleet/workers/{id}/drain")

    def fleet_changes(self) -> list[dict[str, Any]]:
        """Return the fleet's last events, oldest first, each with `kind`, `worker_id`, `by` and `reason`."""
        return self._parse(lambda data: list(data["changes"]), self._transport.json("GET", "/fleet/history"))

    def keys(self) -> list[dict[str, Any]]:
        """Return all keys, including revoked ones, without their secrets."""
        return self._parse(lambda data: list(data["keys"]), self._transport.json("GET", "/keys"))

    def create_key(self, name: str, scopes: Sequence[str] = ("read", "write")) -> dict[str, Any]:
        """Create a key. `key` in the answer is the secret, which cannot be read again."""
        body = {"name": name, "scopes": list(scopes)}
        return self._parse(dict, self._transport.json("POST", "/keys", json=body, repeat=False))

    def revoke_key(self, id: str) -> None:
        """Revoke a key; it stops working at once."""
        self._transport.send("DELETE", f"/keys/{id}")

    def webhooks(self) -> list[dict[str, Any]]:
        """Return the addresses that receive events, each with the outcome of its last delivery."""
        return self._parse(lambda data: list(data["webhooks"]), self._transport.json("GET", "/webhooks"))

    def create_webhook(
        self, url: str, events: Sequence[str] = ("batch.completed", "batch.cancelled")
    ) -> dict[str, Any]:
        """Send events to `url` from now on. `webhooks.verify` needs the `secret`, which cannot be read again."""
        body = {"url": url, "events": list(events)}
        return self._parse(dict, self._transport.json("POST", "/webhooks", json=body, repeat=False))

    def delete_webhook(self, id: str) -> None:
        """Delete a webhook."""
        self._transport.send("DELETE", f"/webhooks/{id}")

    def test_webhook(self, id: str) -> dict[str, Any]:
        """Send the webhook an event now. Return the `status` that its server answered, or an `error`."""
        return self._parse(dict, self._transport.json("POST", f"/webhooks/{id}/test", repeat=False))
