"""The vocabulary's own verbs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from luahost.wire.events import End, Event, Start, Text, Thinking, Usage, joined

event = st.one_of(
    st.text(min_size=1, max_size=3).map(Text),
    st.text(min_size=1, max_size=3).map(Thinking),
    st.sampled_from([Start("m"), Usage(input=1), End("end_turn")]),
)


@given(st.lists(event, max_size=12))
def test_joined_events_say_the_same_in_the_same_order_with_no_two_texts_side_by_side(events: list[Event]) -> None:
    made = joined(events)
    assert all(not (type(a) is Text and type(b) is Text) for a, b in zip(made, made[1:], strict=False))
    assert spelt(made) == spelt(events)


def spelt(events: list[Event]) -> list[object]:
    return [sign for each in events for sign in (each.text if isinstance(each, Text) else [each])]
