"""Ids are made of letters that nobody else has, not even a process that was forked."""

from __future__ import annotations

import os
import re
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal import Server
from shoal.engine.ids import TAG_LENGTH, new_session_id, new_socket_id, new_tag, session_prefix, tag_of


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


@given(name=st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True))
def test_a_name_stands_in_front_of_the_tag(name: str) -> None:
    """With a node's name a session's id is NAME.TAG and the secret: both can be read, and no balancer is too narrow."""
    tag = new_tag()
    sid = new_session_id(session_prefix(name, tag))
    assert sid.partition(".")[0] == name
    assert tag_of(sid) == tag
    assert len(sid) == len(name) + 1 + TAG_LENGTH + 22 <= 61


@pytest.mark.parametrize("name", ["", "a.b", "a b", "ws1:1111", "é", "x" * 33, "a/b", "a%", "a\n", "a=b", "a;b"])
def test_a_name_that_would_not_survive_a_url_is_left_out(name: str) -> None:
    tag = new_tag()
    assert session_prefix(name, tag) == tag


def test_a_server_has_a_name_in_its_session_ids_only_where_it_was_given_one() -> None:
    """The default name has host and process in it, which is for the logs alone."""
    named, unnamed = Server(node="1111").engine, Server(node="").engine
    assert named.table.prefix == f"1111.{named.tag}"
    assert unnamed.table.prefix == unnamed.tag


def test_servers_in_two_threads_share_no_letters() -> None:
    """Each letter is given once, under a profiler too, with which a thread may lose its turn at any call."""
    taken: list[list[str]] = [[], []]

    def take(mine: list[str]) -> None:
        mine.extend([new_session_id("") for _ in range(20_000)])

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    before, profile = sys.getswitchinterval(), threading.getprofile()
    sys.setswitchinterval(1e-6)
    threading.setprofile(lambda *event: None)
    try:
        for thread in threads:
            thread.start()
    finally:
        threading.setprofile(profile)
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    one, other = map(set, taken)
    assert len(one) == len(other) == 20_000
    assert not one & other
    assert {len(each) for each in one | other} == {22}


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
