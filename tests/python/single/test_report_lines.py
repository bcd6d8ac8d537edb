"""What `python -m fakescore run` prints of a job on several hosts."""

from fakescore.program import report_lines
from fakescore.report import Report

MEGABYTE = 1_000_000


def test_what_each_rank_and_host_has_read_sent_and_received():
    report = Report(
        world_size=4,
        backend="process group over store",
        read="root",
        read_reason="",
        read_bytes=(0, 0, 9 * MEGABYTE, 0),
        sent_bytes=(8 * MEGABYTE, 0, 8 * MEGABYTE, 8 * MEGABYTE),
        received_bytes=(8 * MEGABYTE, 8 * MEGABYTE, 0, 8 * MEGABYTE),
        hosts=(0, 0, 1, 1),
        link_sent_bytes=(0, 8 * MEGABYTE),
        link_received_bytes=(8 * MEGABYTE, 0),
        missing=(),
        unexpected=(),
        skipped=(),
        replayed=(),
        cast=(),
        taken="",
        passed_over=(),
        phases=(),
        bytes=8 * MEGABYTE,
        seconds=1.0,
        peak_host_bytes=(MEGABYTE,) * 4,
        peak_device_bytes=(),
        digest=None,
    )
    rows = [line.split() for line in report_lines("Net", report)]
    assert ["2", "1", "9.0", "MB", "8.0", "MB", "-", "1.0", "MB"] in rows
    assert ["1", "0", "-", "-", "8.0", "MB", "1.0", "MB"] in rows
    assert ["0", "-", "-", "8.0", "MB"] in rows
    assert ["1", "9.0", "MB", "8.0", "MB", "-"] in rows
