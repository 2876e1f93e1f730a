import pytest

from spine_monai.workflows.shards import Shard

CASES = [f"case-{number}" for number in range(1000)]


def test_every_case_belongs_to_exactly_one_shard():
    shards = [Shard(number, 7) for number in range(1, 8)]
    assert all(sum(shard.holds(case) for shard in shards) == 1 for case in CASES)


def test_shards_are_about_equal():
    sizes = [sum(Shard(number, 4).holds(case) for case in CASES) for number in range(1, 5)]
    assert min(sizes) > 200


def test_where_a_case_belongs_never_changes():
    """As another machine, and the next release, must find it there too."""
    assert [Shard(2, 3).holds(case) for case in ("sub-011_t2", "sub-012_t2", "2.25.7")] == [
        *(True, False, True)
    ]


def test_one_shard_is_everything():
    assert Shard().is_whole
    assert all(Shard().holds(case) for case in CASES)
    assert not Shard(1, 2).is_whole


def test_a_shard_is_read_from_text():
    assert Shard.parse("3/8") == Shard(3, 8)
    assert Shard.parse("3/8").name == "3-of-8"


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/2/3", "-1/3", "1/0", " 1/3"])
def test_another_text_is_refused(text):
    with pytest.raises(ValueError, match=r"shard must be I/N with I from 1 to N.*: got .*"):
        Shard.parse(text)
