"""How fast, and when."""

import time
from datetime import datetime, timedelta
from datetime import time as time_of_day

import pytest

from spine_monai.pacs.config import Hours
from spine_monai.pacs.pace import Throttle, seconds_until, wait_for


def test_what_passes_is_so_much_a_second_on_average():
    throttle = Throttle(20)
    start = time.monotonic()
    for _ in range(30):
        throttle.take()
    assert 0.45 < time.monotonic() - start < 0.9  # a second's worth at once, then 10 more


def test_without_a_limit_nothing_waits():
    throttle = Throttle(None)
    start = time.monotonic()
    for _ in range(1000):
        throttle.take()
    assert time.monotonic() - start < 0.2


@pytest.mark.parametrize(
    ("now", "expected"), [((19, 59, 30), 30), ((20, 0, 1), 86399), ((2, 0, 0), 18 * 3600)]
)
def test_hours_come_every_day(now, expected):
    hours = Hours(start=time_of_day(20), end=time_of_day(6))
    assert seconds_until(hours, time_of_day(*now)) == expected


def test_who_waits_is_told_until_when():
    begin = datetime.now() + timedelta(seconds=0.4)
    hours = Hours(start=begin.time(), end=(begin + timedelta(hours=1)).time())
    told = []
    wait_for(hours, told.append)
    assert datetime.now() >= begin
    assert told == [f"{hours.start:%H:%M} to {hours.end:%H:%M}: waiting until {hours.start:%H:%M}"]


def test_in_the_hours_nobody_waits():
    wait_for(None, pytest.fail)
    now = datetime.now()
    around = [(now + timedelta(hours=hours)).time() for hours in (-1, 1)]
    wait_for(Hours(start=around[0], end=around[1]), pytest.fail)
