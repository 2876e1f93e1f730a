import logging
import pickle

from spine_monai.workflows.records import collect, replay

logger = logging.getLogger("spine_monai.workflows.test_records")


class Unsendable:
    def __str__(self):
        return "made to text"

    def __reduce__(self):
        raise TypeError


def test_records_are_sent_and_logged_again(caplog):
    caplog.set_level(logging.INFO, "spine_monai")
    take = collect()
    try:
        logger.info("case %s: %s", "a", Unsendable())
        logging.getLogger("pydicom").error("of somebody else")
        records = pickle.loads(pickle.dumps(take()))
    finally:
        own = logging.getLogger("spine_monai")
        own.removeHandler(own.handlers[-1])
    assert take() == []
    caplog.clear()
    replay(records)
    assert caplog.messages == ["case a: made to text"]
    assert caplog.records[0].name == logger.name


def test_records_below_the_level_are_left_out(caplog):
    caplog.set_level(logging.WARNING, "spine_monai")
    record = logging.makeLogRecord({"name": logger.name, "levelno": logging.INFO, "msg": "low"})
    replay([record])
    assert caplog.messages == []
