"""Run a whole Tagfleet in this process, to test programs that use it.

    import tagfleet.testing

    def test_my_album():
        with tagfleet.testing.deployment(tagger=lambda photo: {"dog": 0.93}) as fleet:
            client = fleet.client()
            batch = client.create_batch()
            client.upload(batch, ["album/a.jpg"])
            client.close(batch)
            assert [item.tags[0].name for item in client.stream(batch)] == ["dog"]

1. The web tier is the real one (`web_tier.app`), so every answer is a real server's. The first use of `fleet.url` makes
   it listen on a free loopback port.
2. Photos, queues and fleet records are in memory. The catalogue is a SQLite file that is deleted at the end.
3. The tagger is a stand-in: it gives the tags that the test chooses. It loads no network.
4. The collector is the real one. It runs in a thread, or step by step (`running=False` and `fleet.step()`).
5. A test can set the clock (`fleet.clock`), and make requests fail, break or wait (`fleet.faults`).
"""

from tagfleet.testing.clock import Clock
from tagfleet.testing.deployment import Deployment, deployment
from tagfleet.testing.faults import Faults
from tagfleet.testing.request import Request
from tagfleet.testing.tagger import Failed, Photo, Tagged

__all__ = ["Clock", "Deployment", "Failed", "Faults", "Photo", "Request", "Tagged", "deployment"]
