"""Rooms: any order of entering, joining, leaving and going agrees with a naive table of sets."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.fanout.recording import Owner
from tests.unit.fuzz import examples

from shoal.fanout.outbox import Outbox, OutboxRules, OutboxStats
from shoal.fanout.rooms import Rooms

RULES = OutboxRules(1_000, "disconnect", OutboxStats())
NAMES = ["a", "b", "c", "id0", "id1"]  # some rooms are called like members


class Person:
    def __init__(self, number: int) -> None:
        self.id = f"id{number}"
        self.joined: set[str] = set()
        self.outbox = Outbox(RULES, Owner())

    def __repr__(self) -> str:
        return self.id


class Town(RuleBasedStateMachine):
    """`model` holds who is in which room, ids included, written down in the plainest way."""

    @initialize()
    def build(self) -> None:
        self.told: list[tuple[str | None, Any]] = []
        self.rooms: Rooms[Person] = Rooms(self.note)
        self.people = [Person(number) for number in range(4)]
        self.inside: set[Person] = set()
        self.model: dict[str, set[Person]] = defaultdict(set)
        self.before = self.snapshot()

    def note(self, table: Rooms[Person], room: str | None) -> None:
        """The callback: remember the room, and what was in it at that moment."""
        assert table is self.rooms
        self.told.append((room, set(table.everyone if room is None else table.members(room))))

    def snapshot(self) -> dict[str | None, set[Person]]:
        return {None: set(self.rooms.everyone), **{room: set(self.rooms.members(room)) for room in self.all_names()}}

    def all_names(self) -> list[str]:
        return [*NAMES, "id2", "id3"]

    who = st.integers(0, 3)
    room = st.sampled_from(NAMES)

    @rule(who=who)
    def enter(self, who: int) -> None:
        person = self.people[who]
        if person not in self.inside and not self.model[person.id]:
            self.rooms.enter(person)
            self.inside.add(person)
            self.model[person.id].add(person)

    @rule(who=who)
    def exit(self, who: int) -> None:
        person = self.people[who]
        if person in self.inside:
            expected = {room for room in self.model if self.model[room] == {person} and room != person.id}
            assert set(self.rooms.exit(person)) == expected
            self.inside.discard(person)
            for members in self.model.values():
                members.discard(person)

    @rule(who=who, room=room)
    def join(self, who: int, room: str) -> None:
        person = self.people[who]
        # A room called like another one's id is refused by the namespace, before it comes here.
        if person in self.inside and not (room.startswith("id") and room != person.id):
            first = self.rooms.join(person, room)
            assert first == (not self.model[room])
            self.model[room].add(person)

    @rule(who=who, room=room)
    def leave(self, who: int, room: str) -> None:
        person = self.people[who]
        if person in self.inside and room != person.id:
            last = self.rooms.leave(person, room)
            assert last == (self.model[room] == {person})
            self.model[room].discard(person)

    @rule(who=who)
    def move(self, who: int) -> None:
        person = self.people[who]
        person.outbox = Outbox(RULES, Owner())
        self.rooms.moved(person)

    @precondition(lambda self: self.inside)
    @rule(rooms=st.lists(room, max_size=3), excluded=st.lists(room, max_size=2))
    def select(self, rooms: list[str], excluded: list[str]) -> None:
        chosen = set().union(*(self.model[room] for room in rooms)) if rooms else set(self.inside)
        for room in excluded:
            chosen -= self.model[room]
        assert self.rooms.select(tuple(rooms), tuple(excluded)) == {person: person.outbox for person in chosen}

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "rooms"):
            return
        assert self.rooms.everyone == {person: person.outbox for person in self.inside}
        assert self.rooms.by_id == {person.id: person for person in self.inside}
        for room in self.all_names():
            assert self.rooms.members(room) == {person: person.outbox for person in self.model[room]}
            assert (room in self.rooms) == bool(self.model[room])
        named = {room for room, members in self.model.items() if members and not room.startswith("id")}
        assert set(self.rooms.names()) == named
        assert len(self.rooms) == len(named)
        for person in self.people:
            assert person.joined == {room for room in named if person in self.model[room]}

    @invariant()
    def every_change_was_announced_before_it_happened(self) -> None:
        """Whoever remembers a selection must hear of each room that changes, while it is still as it was."""
        if not hasattr(self, "rooms"):
            return
        now = self.snapshot()
        for room, members in now.items():
            if members != self.before[room]:
                assert (room, self.before[room]) in self.told, f"nobody was told that {room} changes"
        self.before, self.told = now, []


TestTown = Town.TestCase
TestTown.settings = settings(max_examples=examples(50), stateful_step_count=30)


def test_a_selection_of_one_room_is_live() -> None:
    """No copy is made for the most common broadcast."""
    rooms: Rooms[Person] = Rooms(lambda table, room: None)
    person = Person(0)
    rooms.enter(person)
    rooms.join(person, "a")
    assert rooms.select(("a",), ()) is rooms.members("a")
    assert rooms.select((), ()) is rooms.everyone
