"""What an item has beside Data: the same in every form that requests have it in."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mlssocial.codec import WireMap
from mlssocial.head import Head
from mlssocial.keys import Keys
from mlssocial.schema import DATA, INDEX_ATTRIBUTES
from mlssocial.wire import decode_row, encode_request, plain_row

keys = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()) | st.sampled_from(
    ['"', "\\", 'é"\\u0000', "😀", "\u2028"]
)
pairs = st.tuples(keys, keys) | st.just((None, None))
all_keys = st.builds(lambda pk, sk, one, two: Keys(pk, sk, *one, *two), keys, keys, pairs, pairs)
millis = st.integers(-(10**13), 10**14)
heads = st.builds(Head, all_keys, st.just("Listing"), millis, millis, st.just("a-_b" * 4))
texts: st.SearchStrategy[dict[str, Any]] = st.builds(lambda text: {"S": text}, keys)
others: st.SearchStrategy[WireMap] = st.dictionaries(
    keys | st.sampled_from(["TTL", "WriteId", "GSI1PK", "PK", DATA]),
    texts | st.just({"N": "1"}) | st.just({"NULL": True}),
    max_size=4,
)


@given(heads, others)
def test_an_item(head: Head, beside: WireMap) -> None:
    """The JSON of an item is that of its attributes, over whatever others bring along under the same names."""
    data = {"status": {"S": 'say "hi"'}}
    item = head.item(msgspec.Raw(msgspec.json.encode(data)), beside)
    assert plain_row(decode_row(item)) == {**beside, **head.attributes(), DATA: {"M": data}}
    assert encode_request({"Item": item}) == b'{"Item":' + bytes(item) + b"}"


@given(heads)
def test_a_save(head: Head) -> None:
    """A save's values are the same attributes, but for the primary key, under their names behind a colon."""
    attributes = {name: value for name, value in head.attributes().items() if name not in {"PK", "SK"}}
    assert head.values() == {f":{name}": value for name, value in attributes.items()}
    assert set(head.indexes) == attributes.keys() & set(INDEX_ATTRIBUTES.values())
