import berkeleydb.db as bdb
import pytest

from meta1g.base.errors import BugError, Module, PermError, TempError
from meta1g.db.bdb import Environment, log_place, translate
from meta1g.db.damage import DamageError, Note, Step, read_note


@pytest.fixture
def env(tmp_path):
    opened = Environment(Module.DEFEDB, tmp_path, 1 << 20)
    yield opened
    opened.close()


def test_a_transaction_is_done_at_its_end(env):
    handle = env.database("a.db")
    with env.transaction() as txn:
        handle.put(b"k", b"v", txn=txn)
    assert handle.get(b"k") == b"v"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_a_transaction_that_raises_leaves_no_trace(env, error):
    handle = env.database("a.db")
    with pytest.raises(type(error)), env.transaction() as txn:  # noqa: PT012
        handle.put(b"k", b"v", txn=txn)
        raise error
    assert handle.get(b"k") is None
    with env.transaction() as txn:
        handle.put(b"k", b"w", txn=txn)
    assert handle.get(b"k") == b"w"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (bdb.DBRunRecoveryError(-30973, "panic"), BugError, 451),
        (bdb.DBNoSpaceError(28, "full"), TempError, 452),
        (bdb.DBError(5, "input/output error"), TempError, 451),
    ],
)
def test_errors_of_the_library_become_ours(tmp_path, error, kind, code):
    ours = translate(Module.DEFEDB, tmp_path, error)
    assert (type(ours), ours.code) == (kind, code)
    assert str(tmp_path) in ours.cause
    assert error.args[1] in ours.cause


@pytest.mark.parametrize(
    ("error", "kind", "note"),
    [
        (bdb.DBRunRecoveryError(-30973, "panic"), BugError, Note(Step.SUSPECT)),
        (DamageError(Module.DEFEDB, "bad record"), DamageError, Note(Step.SUSPECT)),
        (bdb.DBNoSpaceError(28, "full"), TempError, None),
        (PermError(Module.DEFEDB, "other"), PermError, None),
    ],
)
def test_damage_is_noted_for_the_next_start_and_nothing_else_is(env, tmp_path, error, kind, note):
    with pytest.raises(kind), env.errors():
        raise error
    assert read_note(tmp_path) == note


def test_a_cursor_finds_none_behind_the_end(env):
    handle = env.database("a.db")
    with env.cursor(handle) as cursor:
        assert [cursor.first(), cursor.set_range(b"a"), cursor.next()] == [None, None, None]


def test_the_place_of_the_log_is_the_home_unless_written_down(tmp_path):
    assert log_place(tmp_path) == tmp_path
    (tmp_path / "DB_CONFIG").write_text("# x\nset_lg_dir /var/log/defedb\n")
    assert str(log_place(tmp_path)) == "/var/log/defedb"
