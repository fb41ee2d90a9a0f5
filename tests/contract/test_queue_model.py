"""Any sequence of calls on a queue, against a model: each message is waiting, in flight, dead or deleted, never two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.storage.ports import Delivery

_names = count()


@dataclass
class _Message:
    body: str
    hidden_until: float = 0.0
    receives: int = 0
    dead: bool = False
    last: Delivery | None = None

    def waits(self, now: float) -> bool:
        return self.hidden_until <= now


class _Machine(RuleBasedStateMachine):
    def __init__(self, queues) -> None:
        super().__init__()
        self.queues = queues
        name = f"jobs-{next(_names)}"
        self.clients = [queues.open(name), queues.open(name)]
        self.messages: dict[str, _Message] = {}
        self.deliveries: list[tuple[bool, Delivery]] = []
        self.sent = 0

    @property
    def queue(self):
        """Another client at every call."""
        self.clients.reverse()
        return self.clients[0]

    @rule(number=st.integers(1, 12))
    def send(self, number):
        bodies = [str(self.sent + offset) for offset in range(number)]
        self.sent += number
        self.queue.send(bodies)
        self.messages |= {body: _Message(body) for body in bodies}

    @rule(limit=st.integers(1, 10))
    def receive(self, limit):
        self._bury()
        self._receive(self.queue, limit, dead=False)

    @rule(limit=st.integers(1, 10))
    def receive_dead_letters(self, limit):
        self.receive(1)
        self._receive(self.queue.dead_letters(), limit, dead=True)

    @precondition(lambda self: self.deliveries)
    @rule(picks=st.lists(st.integers(0, 1_000), min_size=1, max_size=12))
    def delete(self, picks):
        for dead, deliveries in self._picked(picks):
            (self.queue.dead_letters() if dead else self.queue).delete(deliveries)
            for delivery in deliveries:
                if self._is_current(delivery, dead):
                    del self.messages[delivery.body]

    @precondition(lambda self: self.deliveries)
    @rule(picks=st.lists(st.integers(0, 1_000), min_size=1, max_size=12), which=st.integers(0, 2))
    def set_visibility(self, picks, which):
        seconds = self.queues.hidings[which]
        now = self.queues.now()
        for dead, deliveries in self._picked(picks):
            # Of a message whose time ran out and that nobody received since, a heartbeat may do either.
            known = [d for d in deliveries if not (self._is_current(d, dead) and self.messages[d.body].waits(now))]
            (self.queue.dead_letters() if dead else self.queue).set_visibility(known, seconds)
            for delivery in known:
                if self._is_current(delivery, dead):
                    self.messages[delivery.body].hidden_until = now + seconds

    @rule(limit=st.integers(0, 5))
    def redrive(self, limit):
        self.receive(1)
        now = self.queues.now()
        waiting = [message for message in self.messages.values() if message.dead and message.waits(now)]
        assert self.queue.redrive(limit) == min(limit, len(waiting))
        if len(waiting) <= limit:
            moved = waiting
        else:  # which of them went shows in what is left
            left = {d.body for d in self._receive(self.queue.dead_letters(), len(waiting) - limit, dead=None)}
            moved = [message for message in waiting if message.body not in left]
        self.messages |= {message.body: _Message(message.body) for message in moved}

    @rule(which=st.integers(0, 2))
    def pass_time(self, which):
        self.queues.pass_time(self.queues.pauses[which])

    @invariant()
    def every_message_is_in_exactly_one_place(self):
        now = self.queues.now()
        dead = [
            m for m in self.messages.values() if m.dead or (m.waits(now) and m.receives >= self.queues.max_receives)
        ]
        alive = [m for m in self.messages.values() if m not in dead]
        depth = self.queue.depth()
        if self.queues.exact:
            assert depth.dead == len(dead)
            assert depth.visible == sum(message.waits(now) for message in alive)
            assert depth.in_flight == sum(not message.waits(now) for message in alive)
        assert depth.outstanding + depth.dead == len(self.messages)

    def teardown(self):
        """Whatever was not deleted can still be had, once."""
        self.queues.pass_time(10_000)
        self._bury()
        left = {body for body, message in self.messages.items() if not message.dead}
        assert {d.body for d in self._all(self.clients[0])} == left
        assert {d.body for d in self._all(self.clients[1].dead_letters())} == self.messages.keys() - left

    def _receive(self, queue, limit, *, dead):
        """`dead` None: as from the dead letters, of which the model does not know yet which were redriven."""
        now = self.queues.now()
        known = [m for m in self.messages.values() if m.dead == (dead is not False) and m.waits(now)]
        got = queue.receive(limit, 0)
        assert len(got) <= limit
        assert len({delivery.body for delivery in got}) == len(got)
        if self.queues.exact:
            assert len(got) == min(limit, len(known))
        for delivery in got:
            message = self.messages[delivery.body]
            assert message in known
            message.receives += 1
            if not message.dead:
                assert delivery.receive_count == message.receives
            message.hidden_until = now + self.queues.visibility_timeout_s
            message.last = delivery
            self.deliveries.append((message.dead, delivery))
        return got

    def _bury(self):
        """A receive moves what was delivered too often to the dead letters first."""
        now = self.queues.now()
        for message in self.messages.values():
            if not message.dead and message.waits(now) and message.receives >= self.queues.max_receives:
                message.dead, message.last = True, None

    def _picked(self, picks):
        chosen = [self.deliveries[pick % len(self.deliveries)] for pick in picks]
        for dead in (False, True):
            if deliveries := [delivery for was_dead, delivery in chosen if was_dead == dead]:
                yield dead, deliveries

    def _is_current(self, delivery, dead):
        message = self.messages.get(delivery.body)
        return message is not None and message.dead == dead and message.last == delivery

    def _all(self, queue):
        while got := queue.receive(10, 0):
            yield from got


def test_any_sequence_of_calls_keeps_every_message_in_exactly_one_place(queues):
    run_state_machine_as_test(
        partial(_Machine, queues),
        settings=settings(max_examples=queues.examples, stateful_step_count=30, deadline=None),
    )
