"""Times as they stand in records."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from fetcher.engine.record_builder import TimestampCache

MOMENTS = st.lists(st.integers(0, 4_000_000_000_000).map(lambda ms: (ms + 0.5) / 1000), min_size=1)


@given(MOMENTS, st.lists(st.integers(0, 3), max_size=20))
def test_a_time_is_utc_to_the_millisecond_whatever_was_stamped_before(
    moments: list[float], again: list[int]
) -> None:
    stamp = TimestampCache()
    for moment in [*moments, *(moments[index % len(moments)] for index in again)]:
        expected = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=int(moment * 1000))
        assert stamp(moment) == expected.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(moment * 1000) % 1000:03d}Z"
