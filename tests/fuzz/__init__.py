"""Studies damaged at random through the readers: ``make fuzz``.

Each mutant is one of the studies of ``seeds`` with a few bytes, a header field or a block changed;
its number and the run's seed say exactly how, so that any of them can be made again. ``trial``
hands it to the calls that ``series`` and ``localize`` make, and judges what came of it: a study is
refused with a message that names it, or read as its own headers say, by another reading of them
(``dicom_truth``, ``volume_truth``). The mutants of a run are tried in child processes (``batch``),
as one may end its process, and a sample of them by the command line itself (``commands``).
"""
