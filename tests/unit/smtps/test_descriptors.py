import resource

from meta1g import st
from meta1g.base.log import Log
from meta1g.smtps.main import served_at_once
from tests.fakes.lines import Lines


def test_sessions_with_filters_need_more_descriptors():
    st.st_init()
    lines = Lines()
    log = Log("smtps", level=20, sink=lines)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    plain, filtered = (served_at_once(limit, 2, log, filters) for filters in (0, 2))
    assert abs(plain - 3 * filtered) <= 3, "two for the session, one for each of two filters, two for their changes"
    assert "raise the limit of open files" in "\n".join(lines.lines)
