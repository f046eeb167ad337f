"""Ids are made of letters that nobody else has, not even a process that was forked."""

from __future__ import annotations

import os
import re

from shoal.engine.ids import TAG_LENGTH, new_session_id, new_socket_id, new_tag, tag_of


def test_an_id_names_its_node_and_is_long_enough() -> None:
    """A session's has 128 random bits and more behind the tag, a socket's has 20 characters; all of them differ."""
    tag = new_tag()
    sessions = [new_session_id(tag) for _ in range(2_000)]
    sockets = [new_socket_id(tag) for _ in range(2_000)]
    for each in (*sessions, *sockets):
        assert tag_of(each) == tag
        assert re.fullmatch(r"[A-Za-z0-9_-]+", each)
    assert {(len(each) - TAG_LENGTH) * 6 >= 128 for each in sessions} == {True}
    assert {len(each) for each in sockets} == {20}
    secrets = [each[TAG_LENGTH:] for each in (*sessions, *sockets)]
    assert len(set(secrets)) == len(secrets)
    # Not one is part of another: each letter was given once.
    assert not any(short in long for short in secrets[-20:] for long in secrets[:2_000])


def test_a_forked_process_has_letters_of_its_own() -> None:
    """A server that forks its workers after it was imported must not give two clients one id."""
    new_session_id("x")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_session_id("x").encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    assert theirs
    assert theirs != new_session_id("x")
