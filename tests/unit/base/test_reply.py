from meta1g.base.reply import NO_REPLY, Reply, printable


def test_a_reply_is_one_line_with_both_codes():
    assert Reply(250, "2.1.0", "Sender ok").encode() == b"250 2.1.0 Sender ok\r\n"


def test_a_reply_of_several_lines_repeats_the_codes():
    assert Reply(550, "5.7.1", ("No", "See us")).encode() == b"550-5.7.1 No\r\n550 5.7.1 See us\r\n"


def test_a_reply_without_enhanced_code_has_none():
    assert Reply(354, "", "Go on").encode() == b"354 Go on\r\n"


def test_line_ends_and_bytes_beyond_ascii_do_not_reach_the_client():
    assert Reply(550, "5.1.1", "a\r\n250 ok \u00e9").encode() == b"550 5.1.1 a\\x0D\\x0A250 ok \\xC3\\xA9\r\n"


def test_a_long_text_is_cut_to_the_line_limit():
    assert len(Reply(550, "5.7.100", "x" * 2000).encode()) == 512


def test_printable_escapes_undecodable_bytes_one_by_one():
    assert printable(b"a\xff\x00".decode("utf-8", "surrogateescape")) == "a\\xFF\\x00"


def test_the_classes_of_replies():
    assert (Reply(250).is_ok, Reply(354).is_more, Reply(451).is_temp, Reply(554).is_perm) == (True,) * 4
    assert str(Reply(550, "5.1.1", ("no", "body"))) == "550 5.1.1 no body"


def test_a_reply_of_another_host_is_not_our_own_word():
    ours, theirs = Reply(550, "5.1.1", "no"), Reply(550, "5.1.1", "no", "mx.example[192.0.2.1]")
    assert ours != theirs
    assert ours.encode() == theirs.encode(), "a client is told the same"


def test_nothing_said_is_no_answer_of_any_class():
    assert not any((NO_REPLY.is_ok, NO_REPLY.is_more, NO_REPLY.is_temp, NO_REPLY.is_perm))
