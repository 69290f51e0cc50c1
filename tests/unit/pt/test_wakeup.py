import select

from meta1g.pt.wakeup import Wakeup


def readable(wakeup):
    return bool(select.select([wakeup.fd], [], [], 0)[0])


def test_set_makes_it_readable_and_clear_unreadable():
    wakeup = Wakeup()
    assert not readable(wakeup)
    wakeup.set()
    wakeup.set()
    assert readable(wakeup)
    assert wakeup.clear() is True
    assert not readable(wakeup)
    assert wakeup.clear() is False
    wakeup.close()


def test_close_twice_is_no_error():
    wakeup = Wakeup()
    wakeup.close()
    wakeup.close()
