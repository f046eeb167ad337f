"""Who is in which room of one namespace, both ways.

A member is anything with an ``id``, a set ``joined`` and an ``outbox``. Its own id is a room too, without an entry:
most connections never get a message by it. Joining and leaving cost the same however many others there are. Nothing
here knows a namespace's name, a handler or another node.

A room is a dict of its members with their outboxes, not a set: the fan-out walks over the outboxes alone, in the order
in which the members came. That is near the order of their objects in memory and of their sockets in the kernel; in the
order of a set, by address modulo its size, nearly every step of a walk over a large room misses the caches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, TypeVar

from .outbox import Outbox

__all__ = ["Member", "Rooms"]


class Member(Protocol):
    """What can be in a room."""

    id: str
    joined: set[str]
    outbox: Outbox


M = TypeVar("M", bound=Member)


class Rooms(Generic[M]):
    """The rooms of one namespace on this node.

    Args:
        before_change: Called with a room, or ``None`` for everyone, before its members change, so that what was emitted
            to those who are in it now reaches them and nobody else.
    """

    __slots__ = ("_before_change", "_rooms", "by_id", "everyone")

    def __init__(self, before_change: Callable[[Rooms[M], str | None], None]) -> None:
        self._before_change = before_change
        self._rooms: dict[str, dict[M, Outbox]] = {}
        self.by_id: dict[str, M] = {}
        self.everyone: dict[M, Outbox] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def __contains__(self, room: str) -> bool:
        return room in self._rooms or room in self.by_id

    def names(self) -> list[str]:
        """The rooms that have members, without those that are a member's own id."""
        return list(self._rooms)

    def enter(self, member: M) -> None:
        """A member comes: from now on it gets what goes to everyone and to its id."""
        self._before_change(self, None)
        self._before_change(self, member.id)
        self.by_id[member.id] = member
        self.everyone[member] = member.outbox

    def exit(self, member: M) -> list[str]:
        """A member goes, from every room. Returns the rooms that are empty now."""
        emptied = [room for room in list(member.joined) if self.leave(member, room)]
        if self.by_id.get(member.id) is member:
            self._before_change(self, None)
            self._before_change(self, member.id)
            del self.by_id[member.id]
            self.everyone.pop(member, None)
        return emptied

    def join(self, member: M, room: str) -> bool:
        """Put a member into a room. Returns whether it is the first one there."""
        if room in member.joined or room == member.id:
            return False
        self._before_change(self, room)
        member.joined.add(room)
        members = self._rooms.get(room)
        if members is not None:
            members[member] = member.outbox
            return False
        self._rooms[room] = {member: member.outbox}
        return True

    def moved(self, member: M) -> None:
        """A member has another outbox from now on. Nothing may be on its way to it."""
        for room in member.joined:
            self._rooms[room][member] = member.outbox
        if member in self.everyone:
            self.everyone[member] = member.outbox

    def leave(self, member: M, room: str) -> bool:
        """Take a member out of a room. Returns whether it was the last one there."""
        if room not in member.joined:
            return False
        self._before_change(self, room)
        member.joined.discard(room)
        members = self._rooms[room]
        members.pop(member, None)
        if members:
            return False
        del self._rooms[room]
        return True

    def members(self, room: str) -> Mapping[M, Outbox]:
        """Members of one room, live: do not keep it, do not change it."""
        if (found := self._rooms.get(room)) is not None:
            return found
        member = self.by_id.get(room)
        return {} if member is None else {member: member.outbox}

    def select(self, rooms: Collection[str], excluded: Collection[str]) -> Mapping[M, Outbox]:
        """Members of any of ``rooms`` (of none named: everyone) and of none of ``excluded``. Not to be changed."""
        if not excluded and len(rooms) < 2:
            for room in rooms:
                return self.members(room)
            return self.everyone
        chosen: dict[M, Outbox] = {} if rooms else dict(self.everyone)
        for room in rooms:
            chosen.update(self.members(room))
        for room in excluded:
            for member in self.members(room):
                chosen.pop(member, None)
        return chosen
