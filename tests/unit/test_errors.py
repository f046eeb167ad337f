"""The tree of exceptions: who can be caught by what, and what each one tells."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import shoal
from shoal import errors

TREE = {
    "ConfigurationError": "ShoalError",
    "ConnectionRefused": "ShoalError",
    "RoomRefused": "ShoalError",
    "PayloadError": "ShoalError",
    "AckTimeout": "ShoalError",
    "NotConnected": "ShoalError",
    "ProtocolError": "ShoalError",
    "EngineProtocolError": "ProtocolError",
    "SocketProtocolError": "ProtocolError",
    "BrokerError": "ShoalError",
}


def test_the_tree_is_the_one_that_is_drawn() -> None:
    """Every exception has one parent, is exported, and stands in the drawing of the module's docstring."""
    found = {
        name: kind.__mro__[1].__name__
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.ShoalError) and kind is not errors.ShoalError
    }
    assert found == TREE
    assert set(errors.__all__) == {*TREE, "ShoalError", "EventWarning"}
    drawn = [line.split("── ")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "── " in line]
    assert sorted(drawn) == sorted([*TREE, "EventWarning"])


def test_the_package_exports_what_applications_catch_and_raise() -> None:
    for name in ("ShoalError", "ConfigurationError", "ConnectionRefused", "PayloadError", "AckTimeout", "NotConnected"):
        assert getattr(shoal, name) is getattr(errors, name)
    for name in shoal.__all__:
        assert hasattr(shoal, name)


def test_a_refusal_has_message_and_data() -> None:
    """What the client gets; both have defaults."""
    refused = errors.ConnectionRefused("no", {"a": 1})
    assert (refused.message, refused.data, str(refused)) == ("no", {"a": 1}, "no")
    refused = errors.ConnectionRefused()
    assert (refused.message, refused.data) == ("connection refused", None)


def test_a_timeout_tells_event_and_seconds() -> None:
    timeout = errors.AckTimeout("question", 2.50)
    assert (timeout.event, timeout.timeout) == ("question", 2.5)
    assert str(timeout) == "no acknowledgement of 'question' within 2.5 s"
    assert not isinstance(timeout, TimeoutError)


@pytest.mark.parametrize(
    "error", [errors.AckTimeout("e", 1.0), errors.ConnectionRefused("m", [1]), errors.NotConnected("x")]
)
def test_they_can_be_copied(error: errors.ShoalError) -> None:
    """Test runners and process pools do."""
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)
