"""The service itself: its taggers, its fleet, who may use it, and whom it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tagfleet.client.calls import Calls


class Service(Calls):
    """Keys, webhooks and the fleet need a key of the scope `operate` where the service asks for keys."""

    def models(self) -> list[dict[str, Any]]:
        """The pools: which tagger each wants, which it serves, and why they differ."""
        return self._read(lambda data: list(data["models"]), self._transport.json("GET", "/models"))

    def fleet(self) -> dict[str, Any]:
        """Queues, workers, pools and the controller's last decisions."""
        return self._read(dict, self._transport.json("GET", "/fleet"))

    def set_cap(self, max_workers: int | None) -> dict[str, Any]:
        """How many workers of all pools there may be, in place of the settings'; 0 drains all, None goes back.

        Returns the `cap` that holds from the controller's next tick on, and its `cap_source`.
        """
        return self._read(dict, self._transport.json("PUT", "/fleet/cap", json={"max_workers": max_workers}))

    def drain_worker(self, id: str) -> None:
        """Have it finish what it holds and end. Raises Missing where no such worker lives."""
        self._transport.send("POST", f"/fleet/workers/{id}/drain")

    def fleet_changes(self) -> list[dict[str, Any]]:
        """The last workers that came or went, oldest first: `kind`, `worker_id`, `by` whom, and the `reason`."""
        return self._read(lambda data: list(data["changes"]), self._transport.json("GET", "/fleet/history"))

    def keys(self) -> list[dict[str, Any]]:
        """All keys, the revoked ones too; none with its secret."""
        return self._read(lambda data: list(data["keys"]), self._transport.json("GET", "/keys"))

    def create_key(self, name: str, scopes: Sequence[str] = ("read", "write")) -> dict[str, Any]:
        """A new key. Its `key` is the secret, told this once."""
        body = {"name": name, "scopes": list(scopes)}
        return self._read(dict, self._transport.json("POST", "/keys", json=body, repeat=False))

    def revoke_key(self, id: str) -> None:
        """The key opens nothing from now on."""
        self._transport.send("DELETE", f"/keys/{id}")

    def webhooks(self) -> list[dict[str, Any]]:
        """The addresses that are told of events, each with how its last delivery went."""
        return self._read(lambda data: list(data["webhooks"]), self._transport.json("GET", "/webhooks"))

    def create_webhook(
        self, url: str, events: Sequence[str] = ("batch.completed", "batch.cancelled")
    ) -> dict[str, Any]:
        """Have events sent to `url`. Its `secret`, told this once, is what `webhooks.verify` needs."""
        body = {"url": url, "events": list(events)}
        return self._read(dict, self._transport.json("POST", "/webhooks", json=body, repeat=False))

    def delete_webhook(self, id: str) -> None:
        self._transport.send("DELETE", f"/webhooks/{id}")

    def test_webhook(self, id: str) -> dict[str, Any]:
        """Send it an event now; `status` is what its server answered, `error` why it did not."""
        return self._read(dict, self._transport.json("POST", f"/webhooks/{id}/test", repeat=False))
