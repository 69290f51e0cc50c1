"""Log lines of state threads."""

import pytest

from meta1g import st
from meta1g.st.offload import offload
from meta1g.st.turnlog import collect_lines
from tests.fakes.counting_sink import collecting


@pytest.fixture
def log():
    with collecting("smtps", collect_lines) as log:
        yield log


def test_lines_of_all_threads_that_are_ready_are_one_write(log):
    threads = [st.st_thread_create(lambda number: log.info("a.b", str(number)), number, True) for number in range(5)]
    for thread in threads:
        st.st_thread_join(thread)
    st.st_usleep(0)
    assert [write.count("\n") for write in log.sink.writes] == [5]


def test_a_line_is_written_although_its_thread_goes_on_to_wait(log):
    log.info("a.b", "ok")
    st.st_usleep(1000)
    assert len(log.sink.writes) == 1


def test_native_threads_may_log(log):
    offload(lambda: log.info("a.b", "ok"))
    while not log.sink.writes:
        st.st_usleep(1000)
    assert "stat=ok" in log.sink.writes[0]
