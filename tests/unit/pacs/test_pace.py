"""How fast, and when."""

from datetime import datetime, timedelta
from datetime import time as time_of_day

import pytest

from spine_monai.pacs import pace
from spine_monai.pacs.config import Hours
from spine_monai.pacs.pace import Throttle, seconds_until, wait_for


class Clock:
    """Goes on only while somebody sleeps, so that a busy machine changes nothing."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(pace, "time", clock := Clock())
    return clock


def test_what_passes_is_so_much_a_second_on_average(clock):
    throttle = Throttle(20)
    for _ in range(30):
        throttle.take()
    assert clock.now == pytest.approx(0.5)  # a second's worth at once, then 10 more


def test_without_a_limit_nothing_waits(clock):
    throttle = Throttle(None)
    for _ in range(1000):
        throttle.take()
    assert clock.now == 0


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
