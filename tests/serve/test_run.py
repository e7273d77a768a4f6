"""Where a server listens, and who needs a token."""

from __future__ import annotations

import pytest

from langchain_toolken.serve.run import is_loopback, token_for


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_addresses_of_this_machine_need_no_token(host: str) -> None:
    assert is_loopback(host)
    assert token_for(host, None) is None
    assert token_for(host, "mine") == "mine"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "127.0.0.1.example.org"])
def test_all_others_get_a_new_one_each(host: str) -> None:
    assert not is_loopback(host)
    tokens = {token_for(host, None) for _ in range(3)}
    assert len(tokens) == 3
    assert all(token is not None and len(token) > 20 for token in tokens)
    assert token_for(host, "mine") == "mine"
