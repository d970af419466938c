"""Remembering with a bound, against the plainest way to do it."""

from hypothesis import given
from hypothesis import strategies as st

from domain.kernel.bounded import Bounded

MOST = 10
steps = st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 12)))  # a key, asked for or put so heavy


@given(st.lists(steps, max_size=40))
def test_the_last_used_stay_as_long_as_all_weigh_no_more_than_may_be(taken: list[tuple[int, int | None]]) -> None:
    remembered: Bounded[int, object] = Bounded(MOST)
    model: list[tuple[int, object, int]] = []  # the last used at the end
    for key, weight in taken:
        here = [entry for entry in model if entry[0] == key]
        if weight is None:
            assert remembered.get(key) is (here[0][1] if here else None)
            if not here:
                continue
            entry = here[0]
        else:
            entry = (key, object(), weight)
            assert remembered.put(key, entry[1], weight) is entry[1]
        model = [other for other in model if other[0] != key] + [entry]
        while sum(weight for _, _, weight in model) > MOST and len(model) > 1:
            del model[0]
        assert (remembered.weight, len(remembered)) == (sum(weight for _, _, weight in model), len(model))
