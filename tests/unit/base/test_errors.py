import pytest

from meta1g.base.errors import FullError, Module, PermError, TempError
from meta1g.base.reply import Reply


@pytest.mark.parametrize(
    ("kind", "facts", "reply"),
    [
        (TempError, {}, Reply(451, "4.3.0", "why")),
        (PermError, {}, Reply(554, "5.3.0", "why")),
        (FullError, {}, Reply(452, "4.3.1", "why")),
        (TempError, {"code": 421, "ecode": "4.4.2"}, Reply(421, "4.4.2", "why")),
    ],
)
def test_an_error_means_a_reply_in_our_own_words(kind, facts, reply):
    assert kind(Module.IO, "why", **facts).reply == reply
